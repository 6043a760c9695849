#include "bus_error.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string_view>

namespace ds::tool {
namespace {

// Only what a signal handler may call: no allocation, no formatting.

void Tell(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

// The number that `text` begins with, in base 16, which is taken off it.
uintptr_t TakeHex(std::string_view& text) {
  uintptr_t value = 0;
  for (; !text.empty(); text.remove_prefix(1)) {
    const char c = text.front();
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value * 16 + static_cast<uintptr_t>(digit);
  }
  return value;
}

// The path in a line of /proc/self/maps, if that is the mapping that holds `address`.
std::string_view PathAt(std::string_view line, uintptr_t address) {
  const uintptr_t first = TakeHex(line);
  if (!line.starts_with('-')) return {};
  line.remove_prefix(1);
  const uintptr_t end = TakeHex(line);
  if (address < first || address >= end) return {};
  const size_t path = line.find('/');
  return path == line.npos ? std::string_view() : line.substr(path);
}

// Says the name of the file that is mapped at `address`.
void SayFile(uintptr_t address) {
  static char line[8192];  // of a process that ends here
  const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  size_t length = 0;
  for (char c; fd >= 0 && ::read(fd, &c, 1) == 1;) {
    if (c != '\n') {
      if (length < sizeof(line)) line[length++] = c;
      continue;
    }
    const std::string_view path = PathAt({line, length}, address);
    if (!path.empty()) return Tell(path);
    length = 0;
  }
  Tell("a file");
}

void Explain(int, siginfo_t* info, void*) {
  Tell("dspeed: ");
  SayFile(reinterpret_cast<uintptr_t>(info->si_addr));
  Tell(": cannot be read any more: it was cut short while in use, or its disk is full or fails\n");
  ::_exit(1);
}

}  // namespace

void ExplainBusErrors() {
  struct sigaction action = {};
  action.sa_sigaction = Explain;
  action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace ds::tool
