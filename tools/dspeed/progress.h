// How training goes: a line that is rewritten in place on a terminal; where the output goes
// elsewhere, into a file or a pipe, a line every so many steps, or a minute, which stays.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train_log.h"

namespace ds::tool {

class Progress {
 public:
  // Whether there is a terminal to write to.
  static bool Wanted();

  struct Work {
    int64_t first = 0, steps = 0;  // steps [first, steps) are to be done
    double tokens_a_step = 0;
    // Operations a token, and what matrix products reach here a second; 0: not known.
    double flops_a_token = 0, peak_flops = 0;
    int64_t print_every = 10;  // steps between two lines that stay
  };
  explicit Progress(const Work& work);

  void Show(const LogEntry& entry);
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;
  struct Field {
    std::string text;
    int rank;  // on a narrow terminal those that rank last are left out
  };

  std::vector<Field> Fields(const LogEntry& entry) const;
  static std::string Join(std::vector<Field> fields, size_t columns);
  // What a step took lately: each counts a tenth of what is left, the first ones are averaged.
  void Follow(const LogEntry& entry);
  void Print(const LogEntry& entry);
  void Redraw(const LogEntry& entry);
  // A line on the terminal that stays.
  void Keep(const std::string& line);
  // The line that is rewritten goes.
  void Clear();

  const bool terminal_, plain_, colour_;
  const Work work_;
  const Clock::time_point start_;
  Clock::time_point shown_, printed_;
  double recent_ms_ = 0;
  bool open_ = false;  // the cursor is behind an unfinished line
};

// Of the terminal behind a file descriptor; 80 where there is none.
size_t TerminalColumns(int descriptor);

// "12 s", "3 min 5 s", "2 h 10 min"
std::string DurationText(double seconds);

// "1 thread", "2 threads".
std::string Counted(int64_t count, std::string_view noun);

// Bytes that this process holds in memory, and the most it ever held; 0 where it cannot be known.
int64_t ResidentBytes();
int64_t PeakResidentBytes();

}  // namespace ds::tool
