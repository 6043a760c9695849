#include "line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "interrupt.h"

namespace ds::tool {

Result<bool> LineReader::Next(std::string& line) {
  size_t end = held_.find('\n', at_);
  while (end == held_.npos && !ended_) {
    if (Interrupted() != 0) return false;
    const size_t from = held_.size() - at_;
    DS_TRY(Fill());
    end = held_.find('\n', at_ + from);
  }
  if (end == held_.npos && at_ == held_.size()) return false;
  line = held_.substr(at_, end - at_);
  at_ = end == held_.npos ? held_.size() : end + 1;
  ++number_;
  return true;
}

Status LineReader::Fill() {
  held_.erase(0, at_);
  at_ = 0;
  // Not for ever: an interrupt just before would be missed.
  pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  constexpr int kMilliseconds = 200;
  if (::poll(&input, 1, kMilliseconds) <= 0) return {};
  char piece[1 << 16];
  const ssize_t count = ::read(STDIN_FILENO, piece, sizeof(piece));
  if (count < 0 && errno != EINTR && errno != EAGAIN) {
    return Error(Code::kIo, "cannot read standard input: {}", std::strerror(errno));
  }
  ended_ = count == 0;
  if (count > 0) held_.append(piece, static_cast<size_t>(count));
  return {};
}

}  // namespace ds::tool
