#include "progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ds::tool {
namespace {

// https://no-color.org: set and not empty.
bool WantsColour() {
  const char *no_colour = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  return (no_colour == nullptr || *no_colour == '\0') &&
         (terminal == nullptr || std::strcmp(terminal, "dumb") != 0);
}

size_t Columns() {
  winsize size = {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// The fields in order; on a narrow terminal those that rank last are left out.
struct Field {
  std::string text;
  int rank;
};
std::string Join(std::vector<Field> fields, size_t columns) {
  for (int rank = 9;; --rank) {
    std::string line;
    for (const Field& field : fields) line += (line.empty() ? "" : "  ") + field.text;
    if (line.size() < columns || rank == 0) return line;
    std::erase_if(fields, [&](const Field& field) { return field.rank == rank; });
  }
}

}  // namespace

std::string DurationText(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

int64_t ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long long total = 0, resident = 0;
  const int read = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  return read == 2 ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

int64_t PeakResidentBytes() {
  // Not getrusage(): its figure starts with that of the program that started this one.
  std::FILE* file = std::fopen("/proc/self/status", "re");
  if (file == nullptr) return 0;
  long long kilobytes = 0;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "VmHWM: %lld", &kilobytes) == 1) break;
  }
  std::fclose(file);
  return kilobytes * 1024;
}

bool Progress::Wanted() { return ::isatty(STDERR_FILENO) == 1; }

Progress::Progress(const Work& work)
    : terminal_(Wanted()),
      colour_(WantsColour()),
      work_(work),
      start_(Clock::now()),
      shown_(start_ - std::chrono::hours(1)) {}

void Progress::Show(const LogEntry& entry) {
  const auto now = Clock::now();
  if (!terminal_ || (now - shown_ < std::chrono::milliseconds(200) && entry.step < work_.steps)) {
    return;
  }
  shown_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double each = elapsed / static_cast<double>(entry.step - work_.first);
  const double speed = work_.tokens_a_step / each;
  std::vector<Field> fields = {{fmt::format("step {}/{}", entry.step, work_.steps), 0},
                               {fmt::format("loss {:.4f}", entry.loss), 0},
                               {fmt::format("norm {:.3f}", entry.grad_norm), 6},
                               {fmt::format("lr {:.2e}", entry.lr), 5},
                               {fmt::format("{:.0f} tokens/s", speed), 2}};
  if (work_.peak_flops > 0) {
    fields.push_back(
        {fmt::format("{:.0f} % of peak", 100 * speed * work_.flops_a_token / work_.peak_flops), 8});
  }
  if (const int64_t resident = ResidentBytes(); resident > 0) {
    fields.push_back({fmt::format("{} MiB", resident >> 20), 7});
  }
  fields.push_back(
      {fmt::format("ETA {}", DurationText(each * static_cast<double>(work_.steps - entry.step))),
       1});
  const std::string line = Join(std::move(fields), Columns());
  fmt::print(stderr, "\r\033[K{}{}{}", colour_ ? "\033[36m" : "", line, colour_ ? "\033[0m" : "");
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
