#include "device/stream.h"

#include <chrono>
#include <exception>
#include <new>

#include "base/trace.h"

namespace ds::device {
namespace {

// A sleeping hand-off costs tens of microseconds against half of one spinning.
constexpr auto kSpin = std::chrono::microseconds(30);

template <typename Condition>
bool SpinUntil(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::yield();  // the cores may be fewer than the ranks
  }
  return true;
}

// What throws for want of memory must not end the process from a thread of ours.
Status Run(const Stream::Work& work) {
  try {
    return work.run(work.object, work.argument, work.memory);
  } catch (const std::bad_alloc&) {
    return Error(Code::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    return Error(Code::kInternal, "{}", e.what());
  }
}

}  // namespace

Stream::Stream(bool asynchronous, const char* name) : ring_(64) {
  if (!asynchronous) return;
  thread_ = std::thread([this, trace = Trace::Current(), name] {
    const Trace::Thread records(trace, name);
    Serve();
  });
}

Stream::~Stream() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

Ticket Stream::Launch(Work work) {
  if (!thread_.joinable()) {
    ++launched_;
    Finish(failed_ ? Status() : Run(work));
    return launched_;
  }
  const std::lock_guard lock(mutex_);
  const Ticket ticket = launched_ + 1;
  const Ticket waiting = ticket - passed_;
  if (waiting >= static_cast<Ticket>(ring_.size())) {
    std::vector<Work> larger(2 * ring_.size());
    for (Ticket t = passed_; t < ticket; ++t) larger[t % larger.size()] = ring_[t % ring_.size()];
    ring_.swap(larger);
  }
  ring_[ticket % ring_.size()] = work;
  launched_.store(ticket, std::memory_order_release);
  ready_.notify_one();
  return ticket;
}

Status Stream::Wait(Ticket ticket) {
  if (!SpinUntil([&] { return Passed(ticket); })) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return Passed(ticket); });
  }
  if (!failed_.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock(mutex_);
  return failure_;
}

void Stream::Serve() {
  for (Ticket next = 1;; ++next) {
    const auto launched = [&] { return launched_.load(std::memory_order_acquire) >= next; };
    (void)SpinUntil(launched);
    Work work;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&] { return launched() || ending_; });
      if (!launched()) return;
      work = ring_[next % ring_.size()];
    }
    Finish(failed_ ? Status() : Run(work));
  }
}

void Stream::Finish(const Status& status) {
  const std::lock_guard lock(mutex_);
  if (!status.ok() && !failed_) {
    failure_ = status;
    failed_.store(true, std::memory_order_release);
  }
  passed_.fetch_add(1, std::memory_order_release);
  done_.notify_all();
}

}  // namespace ds::device
