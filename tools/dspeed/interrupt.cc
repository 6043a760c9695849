#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace ds::tool {
namespace {

std::atomic<int> caught = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // else it may not be touched in a handler

void Catch(int signal) { caught.store(signal); }

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = Catch;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int Interrupted() { return caught.load(std::memory_order_relaxed); }

}  // namespace ds::tool
