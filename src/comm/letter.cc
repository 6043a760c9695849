// Messages between two ranks: the part of a rendezvous that goes without the others. And how a
// process is watched.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include "comm/rendezvous.h"

namespace ds::comm {

Status Rendezvous::Hand(int rank, int to, std::string_view what, size_t bytes, const void* data) {
  if (broken() || FateIsSealed()) return Describe(rank, "send", what);
  Member& me = board_->member(rank);
  Write(rank, "send", what, bytes, data, 0);
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
  Write(rank, "recv", what, bytes, nullptr, 0);
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

// Field 22 of /proc/PID/stat, the time of its start; -1 when it is not there or dead. The second
// field, in brackets, may hold anything.
int64_t StartOf(int64_t process) {
  char text[1024];
  std::FILE* file = std::fopen(fmt::format("/proc/{}/stat", process).c_str(), "re");
  if (file == nullptr) return -1;
  const size_t length = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  text[length] = '\0';
  const char* rest = std::strrchr(text, ')');
  char state = 'X';
  long long start = -1;
  if (rest == nullptr ||
      std::sscanf(rest + 1,
                  " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                  "%*s %*s %lld",
                  &state, &start) != 2) {
    return -1;
  }
  return state == 'Z' || state == 'X' ? -1 : start;
}

}  // namespace

ProcessId ProcessId::Of(int64_t process) { return {process, StartOf(process)}; }
ProcessId ProcessId::OfThis() { return Of(getpid()); }

bool ProcessId::IsAlive() const { return StartOf(process) == started; }

}  // namespace ds::comm
