#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace ds::tool {
namespace {

std::atomic<int> caught = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // else it may not be touched in a handler

std::atomic<bool> unfinished = false;

void Catch(int signal) {
  caught.store(signal);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = Catch;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int Interrupted() { return caught.load(std::memory_order_relaxed); }

void LeaveUnfinished() { unfinished.store(true); }

int InterruptedStatus() {
  if (!unfinished.load()) return 0;
  const int signal = Interrupted();
  return 128 + (signal != 0 ? signal : SIGTERM);  // another rank of the job was told
}

}  // namespace ds::tool
