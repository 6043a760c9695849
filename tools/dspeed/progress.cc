#include "progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "command.h"

namespace ds::tool {
namespace {

// https://no-color.org: set and not empty.
bool WantsColour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return no_colour == nullptr || *no_colour == '\0';
}

}  // namespace

size_t TerminalColumns(int descriptor) {
  winsize size = {};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string Counted(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

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

std::string Progress::Join(std::vector<Field> fields, size_t columns) {
  for (int rank = 9;; --rank) {
    std::string line;
    for (const Field& field : fields) line += (line.empty() ? "" : "  ") + field.text;
    if (line.size() < columns || rank == 0) return line;
    std::erase_if(fields, [&](const Field& field) { return field.rank == rank; });
  }
}

bool Progress::Wanted() {
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::strcmp(terminal, "dumb") == 0;
  return ::isatty(STDERR_FILENO) == 1 && !dumb;
}

Progress::Progress(const Work& work)
    : terminal_(Wanted()),
      plain_(!terminal_ || ::isatty(STDOUT_FILENO) != 1),
      colour_(WantsColour()),
      work_(work),
      start_(Clock::now()),
      shown_(start_ - std::chrono::hours(1)),
      printed_(start_) {}

std::vector<Progress::Field> Progress::Fields(const LogEntry& entry) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  // What is left takes what it took so far, evaluations and saves among it; the speed is of now.
  const double each = elapsed / static_cast<double>(entry.step - work_.first);
  const double speed = work_.tokens_a_step / recent_ms_ * 1e3;
  std::vector<Field> fields = {{fmt::format("step {}/{}", entry.step, work_.steps), 0},
                               {fmt::format("loss {:.4f}", entry.loss), 0},
                               {fmt::format("norm {:.3f}", entry.grad_norm), 6},
                               {fmt::format("lr {:.2e}", entry.lr), 5},
                               {fmt::format("{:.0f} tokens/s", speed), 2}};
  if (entry.skipped) fields.push_back({"skipped", 3});
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
  return fields;
}

void Progress::Follow(const LogEntry& entry) {
  const double share = std::max(0.1, 1 / static_cast<double>(entry.step - work_.first));
  recent_ms_ += share * (entry.ms - recent_ms_);
}

void Progress::Show(const LogEntry& entry) {
  Follow(entry);
  if (entry.val_loss.has_value()) {
    Keep(fmt::format("step {}  validation loss {:.4f}", entry.step, *entry.val_loss));
  }
  if (plain_) Print(entry);
  if (terminal_) Redraw(entry);
}

void Progress::Print(const LogEntry& entry) {
  const auto now = Clock::now();
  const bool due = entry.step % work_.print_every == 0 || entry.step == work_.steps ||
                   entry.val_loss.has_value() || now - printed_ > std::chrono::minutes(1);
  if (!due) return;
  printed_ = now;
  Clear();
  std::vector<Field> fields = Fields(entry);
  if (entry.val_loss.has_value()) {
    fields.push_back({fmt::format("validation loss {:.4f}", *entry.val_loss), 0});
  }
  Say("{}\n", Join(std::move(fields), SIZE_MAX));
  std::fflush(stdout);
}

void Progress::Redraw(const LogEntry& entry) {
  const auto now = Clock::now();
  if (now - shown_ < std::chrono::milliseconds(200) && entry.step < work_.steps) return;
  shown_ = now;
  const std::string line = Join(Fields(entry), TerminalColumns(STDERR_FILENO));
  Say(stderr, "\r\033[K{}{}{}", colour_ ? "\033[36m" : "", line, colour_ ? "\033[0m" : "");
  std::fflush(stderr);
  open_ = true;
}

void Progress::Clear() {
  if (open_) Say(stderr, "\r\033[K");
  open_ = false;
}

void Progress::Keep(const std::string& line) {
  if (!terminal_) return;
  Say(stderr, "\r\033[K{}\n", line);
  open_ = false;
}

void Progress::Finish() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

}  // namespace ds::tool
