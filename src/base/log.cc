#include "base/log.h"

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace ds {
namespace {

struct Installed {
  LogSink sink;
  int calls = 0;  // of it that run now
};

std::atomic<LogLevel> least = LogLevel::kWarning;
std::mutex mutex;                  // guards what follows
std::condition_variable returned;  // the last call of a sink that was replaced
Installed* current = nullptr;      // null: lines go to stderr. The last one is there to the end

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    default:
      return "error";
  }
}

}  // namespace

void SetLogSink(LogLevel level, LogSink sink) {
  auto next = sink ? std::make_unique<Installed>(Installed{std::move(sink)}) : nullptr;
  std::unique_lock lock(mutex);
  least = level;
  const std::unique_ptr<Installed> old(std::exchange(current, next.release()));
  if (old != nullptr) returned.wait(lock, [&] { return old->calls == 0; });
  lock.unlock();  // what the old one owns may set a sink, or log, as it ends
}

bool LogEnabled(LogLevel level) { return level >= least.load(std::memory_order_relaxed); }

void LogText(LogLevel level, std::string_view component, std::string_view text) {
  std::unique_lock lock(mutex);
  if (Installed* const installed = current; installed != nullptr) {
    ++installed->calls;
    lock.unlock();
    try {
      installed->sink(level, component, text);
    } catch (...) {  // what is logged is done: a sink that fails is no reason to fail
    }
    lock.lock();
    if (--installed->calls == 0) returned.notify_all();
    return;
  }
  const std::string line =
      fmt::format("deepspeed: {}: {}: {}\n", LevelName(level), component, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace ds
