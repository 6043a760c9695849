// A place with memory and arithmetic of its own, as one rank uses it. Without one a rank computes
// on the host, in the memory of the process, at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/queue.h"

namespace ds::device {

class Device {
 public:
  virtual ~Device() = default;

  virtual Queue& queue() = 0;
  // Memory that holds anything; null where there is none left. 64-byte aligned.
  virtual std::byte* Allocate(int64_t bytes) = 0;
  // Once the queue has done what was launched so far.
  virtual void Free(std::byte* data) = 0;
};

}  // namespace ds::device
