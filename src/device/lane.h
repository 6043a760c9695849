// Where arithmetic is launched and in what order: at once on the caller's thread and a pool, or
// later by the queue of a device. Whoever computes takes a Lane and need not know which.
//
// Arrays are memory of the device. On the host's own, where all memory is alike, nothing here
// allocates or waits.
#pragma once

#include <cstdint>
#include <tuple>
#include <type_traits>

#include "base/status.h"
#include "base/task_pool.h"
#include "device/queue.h"
#include "device/stream.h"

namespace ds::device {

class Lane {
 public:
  // Without a queue the pool is all that it takes: so a pool is a lane. Both outlive it.
  Lane(TaskPool& pool, Queue* queue = nullptr) : pool_(&pool), queue_(queue) {}

  TaskPool& pool() const { return *pool_; }
  bool at_once() const { return queue_ == nullptr; }

  // function(pool, args...), of which pointers are mapped and the rest is copied, but for what is
  // taken by reference to be used: that has to stay until the queue has passed the launch.
  template <typename... Args>
  void Run(void (*function)(TaskPool&, Args...), std::type_identity_t<Args>... args) const {
    if (at_once()) return function(*pool_, args...);
    (void)queue_->Launch([pool = pool_, function,
                          kept = std::tuple<Kept<Args>...>(Mapped<Args>(args)...)]() mutable {
      std::apply([&](auto&... each) { function(*pool, each...); }, kept);
      return Status();
    });
  }

  void Zero(void* data, int64_t bytes) const;
  void Copy(void* to, const void* from, int64_t bytes) const;
  // From the host, which may use `from` again at once.
  void Upload(void* to, const void* from, int64_t bytes) const;
  // To the host: waits for all that was launched before.
  Status Download(void* to, const void* from, int64_t bytes) const;

  // All that was launched is done, and the memory is as the host sees it. Other launches may
  // follow.
  Status Sync() const { return at_once() ? Status() : queue_->Wait(queue_->last()); }
  // What is launched here from now on starts when the stream has passed the ticket; at once, that
  // is to wait for it.
  Status After(Stream& stream, Ticket ticket) const;
  // What is launched on the stream from now on starts after all that was launched here.
  void Before(Stream& stream) const;

 private:
  template <typename Arg>
  using Kept = std::conditional_t<std::is_lvalue_reference_v<Arg> &&
                                      !std::is_const_v<std::remove_reference_t<Arg>>,
                                  Arg, std::decay_t<Arg>>;
  template <typename Arg>
  Kept<Arg> Mapped(Arg arg) const {
    if constexpr (std::is_pointer_v<Arg>) {
      return arg == nullptr ? nullptr : static_cast<Arg>(queue_->Map(arg));
    } else {
      return arg;
    }
  }

  TaskPool* pool_;
  Queue* queue_;
};

}  // namespace ds::device
