// Messages between two ranks: the part of a rendezvous that goes without the others. And how a
// process is watched.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include "comm/rendezvous.h"

namespace ds::comm {

Status Rendezvous::Hand(int rank, int to, std::string_view what, size_t bytes, const void* data) {
  if (broken() || FateIsSealed()) return Describe(rank, "send", what);
  Member& me = board_->member(rank);
  Write(rank, "send", what, bytes, data);
  me.letter_to.store(to);
  me.letter.store(Letter::kPosted);
  board_->Wake();
  const auto answered = [&] { return me.letter.load() >= Letter::kRead; };
  Await(rank, answered, [&](int r) { return r == to; });
  Letter posted = Letter::kPosted;
  if (me.letter.compare_exchange_strong(posted, Letter::kNone)) {
    return Failure(rank);
  }
  // It is being read: by a thread, that ends; a process that dies over it reads no memory of ours.
  while (!answered() && !processes_) std::this_thread::yield();
  const Letter end = me.letter.exchange(Letter::kNone);
  if (end == Letter::kRead) return {};
  return end == Letter::kRefused && board_->broken.is_set() ? board_->broken.status()
                                                            : Describe(rank);
}

Status Rendezvous::Take(int rank, int from, std::string_view what, size_t bytes,
                        FunctionRef<void(const void* data)> read) {
  if (broken() || FateIsSealed()) return Describe(rank, "recv", what);
  Write(rank, "recv", what, bytes, nullptr);
  Member& sender = board_->member(from);
  const auto is_here = [&] {
    return sender.letter.load() == Letter::kPosted && sender.letter_to.load() == rank;
  };
  Await(rank, is_here, [&](int r) { return r == from; });
  Letter posted = Letter::kPosted;
  if (!is_here() || !sender.letter.compare_exchange_strong(posted, Letter::kBeingRead)) {
    return Failure(rank);
  }
  const Post& theirs = sender.post;
  if (std::strcmp(theirs.what, post(rank).what) != 0 || theirs.bytes != bytes) {
    const Status differ = Refuse(from, rank);
    sender.letter.store(Letter::kRefused);
    board_->Wake();
    return differ;
  }
  read(theirs.data);
  sender.letter.store(Letter::kRead);
  board_->Wake();
  return {};
}

namespace {

constexpr int64_t kDead = -1, kUnknown = -2;

// What stands in the file, cut to fit; by the system's calls, for a look at a peer needs no memory
// of its own. errno where it fails.
int ReadAll(const char* path, char* text, size_t most) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno;
  size_t length = 0;
  ssize_t count = 0;
  int why = 0;
  do {
    count = read(file, text + length, most - 1 - length);
    why = count < 0 ? errno : 0;
    if (count > 0) length += static_cast<size_t>(count);
  } while ((count > 0 && length < most - 1) || why == EINTR);
  close(file);
  text[length] = '\0';
  return why;
}

// Field 22 of /proc/PID/stat, the time of its start. The second field, in brackets, may hold
// anything. That a file cannot be opened for want of descriptors or memory says nothing of the
// process.
int64_t StartOf(int64_t process) {
  char path[40], text[1024];
  std::snprintf(path, sizeof path, "/proc/%lld/stat", static_cast<long long>(process));
  const int why = ReadAll(path, text, sizeof text);
  if (why == ENOENT || why == ESRCH) return kDead;
  const char* rest = why == 0 ? std::strrchr(text, ')') : nullptr;
  char state = 'X';
  long long start = kUnknown;
  if (rest == nullptr ||
      std::sscanf(rest + 1,
                  " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                  "%*s %*s %lld",
                  &state, &start) != 2) {
    return kUnknown;
  }
  return state == 'Z' || state == 'X' ? kDead : start;
}

}  // namespace

ProcessId ProcessId::Of(int64_t process) { return {process, StartOf(process)}; }
ProcessId ProcessId::OfThis() { return Of(getpid()); }

bool ProcessId::IsAlive() const {
  if (started < 0) return true;  // it could not be seen even when it lived
  const int64_t now = StartOf(process);
  return now == started || now == kUnknown;
}

}  // namespace ds::comm
