// The work of a device that does not compute at once: an ordered queue that the host fills and that
// runs when it likes. The host's own device has none.
#pragma once

#include <cstdint>
#include <functional>

#include "base/status.h"

namespace ds::device {

// Names a launch: work is done when its queue, or its stream, has passed it.
using Ticket = int64_t;

class Queue {
 public:
  virtual ~Queue() = default;

  // One thread launches. Work after a failure is dropped.
  virtual Ticket Launch(std::function<Status()> work) = 0;
  virtual Ticket last() const = 0;
  // Any thread. Returns once the ticket is passed, or the first failure of the queue.
  virtual Status Wait(Ticket ticket) = 0;

  // Memory of the device as its work has to name it. What is not memory of the device is a fault of
  // the caller, and is answered with null.
  virtual void* Map(const void* data) const = 0;
};

}  // namespace ds::device
