// The line that tells how training goes, rewritten in place on a terminal; silent anywhere else.
#pragma once

#include <chrono>
#include <cstdint>

#include "train_log.h"

namespace ds::tool {

class Progress {
 public:
  // Steps [first, steps) are to be done.
  Progress(int64_t first, int64_t steps);

  void Show(const LogEntry& entry, double tokens_a_step);
  // A line that stays.
  void Keep(const std::string& line);
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;

  const bool terminal_;
  const int64_t first_, steps_;
  const Clock::time_point start_;
  Clock::time_point shown_;
  bool open_ = false;  // the cursor is behind an unfinished line
};

// "12 s", "3 min 5 s", "2 h 10 min"
std::string DurationText(double seconds);

}  // namespace ds::tool
