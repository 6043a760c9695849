// An ordered queue of work beside the driver thread. The CPU's stream is a thread; work is a plain
// function with three words of argument, so that launching allocates nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"
#include "device/queue.h"

namespace ds::device {

class Stream {
 public:
  struct Work {
    Status (*run)(void* object, int64_t argument, void* memory) = nullptr;
    void* object = nullptr;
    int64_t argument = 0;
    void* memory = nullptr;
  };

  // Not asynchronous: every launch runs at once on the caller's thread. `name` is what its thread
  // is called in a trace, of static life.
  explicit Stream(bool asynchronous, const char* name = "stream");
  // Runs what was launched, then ends. Work after a failure is dropped.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Ticket Launch(Work work);
  // Returns once the ticket is passed, or the first failure of the stream.
  Status Wait(Ticket ticket);
  bool Passed(Ticket ticket) const { return passed_.load(std::memory_order_acquire) >= ticket; }

 private:
  void Serve();
  void Finish(const Status& status);

  std::atomic<Ticket> launched_ = 0, passed_ = 0;
  std::atomic<bool> failed_ = false;  // set once, after failure_

  std::mutex mutex_;  // guards what follows
  std::condition_variable ready_, done_;
  std::vector<Work> ring_;  // work t at t % size; grows while the program warms up
  Status failure_;
  bool ending_ = false;

  std::thread thread_;  // not joinable when synchronous
};

}  // namespace ds::device
