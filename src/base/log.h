// One line about what the library did, to the sink of the process. Not for errors that a Status
// carries: who decides an error composes its message, and nobody logs it on the way.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <string_view>

namespace ds {

enum class LogLevel { kDebug = 1, kInfo = 2, kWarning = 3, kError = 4, kOff = 5 };

using LogSink = std::function<void(LogLevel, std::string_view component, std::string_view text)>;

// An empty sink writes to stderr. Returns when no call of the old sink is running any more.
void SetLogSink(LogLevel least, LogSink sink);
bool LogEnabled(LogLevel level);
void LogText(LogLevel level, std::string_view component, std::string_view text);

template <typename... Args>
void Log(LogLevel level, std::string_view component, fmt::format_string<Args...> format,
         Args&&... args) {
  if (LogEnabled(level)) {
    LogText(level, component, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace ds
