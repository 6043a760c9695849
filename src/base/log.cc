#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>

namespace ds {
namespace {

std::atomic<LogLevel> least = LogLevel::kWarning;
std::shared_mutex mutex;  // guards what follows
LogSink& Sink() {
  static LogSink sink;
  return sink;
}

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
  // The old one goes behind the lock: what it owns may set a sink, or log, as it ends.
  const std::lock_guard lock(mutex);
  least = level;
  Sink().swap(sink);
}

bool LogEnabled(LogLevel level) { return level >= least.load(std::memory_order_relaxed); }

void LogText(LogLevel level, std::string_view component, std::string_view text) {
  const std::shared_lock lock(mutex);
  if (Sink()) {
    try {
      Sink()(level, component, text);
    } catch (...) {  // what is logged is done: a sink that fails is no reason to fail
    }
    return;
  }
  const std::string line =
      fmt::format("deepspeed: {}: {}: {}\n", LevelName(level), component, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace ds
