// A device that a machine without one can test with: it computes by the functions of the host, but
// keeps the rules of a real one and ends the program where they are broken.
//
//   memory   has an address that the host may not touch (its pages are protected: SIGSEGV); only
//   work
//            of the queue, whose arguments are mapped, sees it. A host pointer given to work, or
//            one of freed memory, ends the program with a line that says so.
//   queue    runs late, on a thread of its own, with pauses drawn from a seed: what does not wait
//   for
//            it reads too early, what does not make it wait is overtaken.
//   fresh and freed memory is poisoned: every element is NaN in every dtype.
//
// One a rank. Its communicator gives collectives the memory as work sees it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/communicator.h"
#include "device/device.h"

namespace ds::test {

class TestDevice final : public device::Device, private device::Queue {
 public:
  explicit TestDevice(uint64_t seed, int64_t bytes = int64_t{64} << 20);
  // Nothing may be allocated any more.
  ~TestDevice() override;

  device::Queue& queue() override { return *this; }
  std::byte* Allocate(int64_t bytes) override;
  void Free(std::byte* data) override;

  // The same address as work and collectives see it; what is not of this device stays as it is.
  void* Seen(const void* data) const;

 private:
  struct Block {
    int64_t bytes = 0;
    bool live = false;
  };

  device::Ticket Launch(std::function<Status()> work) override;
  device::Ticket last() const override;
  Status Wait(device::Ticket ticket) override;
  void* Map(const void* data) const override;
  int64_t OffsetOf(const void* data) const;  // -1: not of this device
  void Serve();

  const uint64_t seed_;
  const int64_t bytes_;
  std::byte *face_ = nullptr, *back_ = nullptr;  // as the host and as work sees it

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::map<int64_t, Block> blocks_;  // by offset; live or not yet free again
  std::deque<std::function<Status()>> waiting_;
  device::Ticket launched_ = 0, passed_ = 0;
  Status failure_;
  bool ending_ = false;

  std::thread thread_;
};

// `inner` and the device outlive it.
std::unique_ptr<comm::Communicator> OnDevice(comm::Communicator& inner, const TestDevice& device);

}  // namespace ds::test
