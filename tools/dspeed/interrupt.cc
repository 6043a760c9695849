#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace ds::tool {
namespace {

std::atomic<int> caught = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // else it may not be touched in a handler

std::atomic<bool> unfinished = false;

constexpr int kEnds[] = {SIGINT, SIGTERM, SIGHUP};

void Catch(int signal) {
  caught.store(signal);
  for (const int end : kEnds) std::signal(end, SIG_DFL);
}

// Ctrl-C ends what reads a pipe, too: this one is not the first then, and each line has its own.
void CatchPipe(int signal) {
  int none = 0;
  caught.compare_exchange_strong(none, signal);
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

void CatchInterrupts() {
  for (const int end : kEnds) {
    struct sigaction before = {};
    sigaction(end, nullptr, &before);
    if (end == SIGHUP && before.sa_handler == SIG_IGN) continue;  // nohup
    Handle(end, Catch);
  }
}

void CatchBrokenPipes() { Handle(SIGPIPE, CatchPipe); }

int Interrupted() { return caught.load(std::memory_order_relaxed); }

void LeaveUnfinished() { unfinished.store(true); }

int InterruptedStatus() {
  if (!unfinished.load()) return 0;
  const int signal = Interrupted();
  return 128 + (signal != 0 ? signal : SIGTERM);  // another rank of the job was told
}

}  // namespace ds::tool
