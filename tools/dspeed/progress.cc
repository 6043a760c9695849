#include "progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace ds::tool {

std::string DurationText(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

Progress::Progress(int64_t first, int64_t steps)
    : terminal_(::isatty(STDERR_FILENO) == 1),
      first_(first),
      steps_(steps),
      start_(Clock::now()),
      shown_(start_ - std::chrono::hours(1)) {}

void Progress::Show(const LogEntry& entry, double tokens_a_step) {
  const auto now = Clock::now();
  if (!terminal_ || (now - shown_ < std::chrono::milliseconds(200) && entry.step < steps_)) return;
  shown_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double each = elapsed / static_cast<double>(entry.step - first_);
  fmt::print(stderr,
             "\r\033[Kstep {}/{}  loss {:.4f}  norm {:.3f}  lr {:.2e}  {:.0f} tokens/s  ETA {}",
             entry.step, steps_, entry.loss, entry.grad_norm, entry.lr, tokens_a_step / each,
             DurationText(each * static_cast<double>(steps_ - entry.step)));
  std::fflush(stderr);
  open_ = true;
}

void Progress::Keep(const std::string& line) {
  if (!terminal_) return;
  fmt::print(stderr, "\r\033[K{}\n", line);
  open_ = false;
}

void Progress::Finish() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

}  // namespace ds::tool
