// The state of a meeting place as plain memory, all zero at first: it serves threads, and processes
// that map it at different addresses. What the words mean is told where they are used
// (rendezvous.cc).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace ds::comm {

// What a rank says it is doing.
struct Post {
  char op[16] = "";    // "all_gather"
  char what[80] = "";  // subject, cut to fit
  uint64_t bytes = 0;  // must be alike on all ranks, as must the next two
  int32_t detail = 0;  // the root of a broadcast, the dtype of a sum
  double scale = 1;    // of a sum
  // Where it lies. Of a rank that is a process, what its stage says it means to the others.
  const void* data = nullptr;
};

// Why a group ended: written once, then read by all.
class Reason {
 public:
  // `by`: the rank that found it, or -1. `meeting`: the meeting that all ranks end with it, or 0.
  // The first one stays; when it returns, some reason can be read.
  void Set(const Status& why, int by, uint64_t meeting = 0);
  bool is_set() const { return state_.load(std::memory_order_acquire) == kSet; }
  // The following once it is set.
  Status status() const { return {static_cast<Code>(code_), text_}; }
  int by() const { return by_; }
  uint64_t meeting() const { return meeting_; }

 private:
  static constexpr uint32_t kUnset = 0, kBeingSet = 1, kSet = 2;

  std::atomic<uint32_t> state_ = kUnset;
  int32_t code_ = 0, by_ = -1;
  uint64_t meeting_ = 0;
  char text_[2000] = "";
};

// How far the one message is that a rank can have on its way.
enum class Letter : uint32_t { kNone, kPosted, kBeingRead, kRead, kRefused };

struct alignas(64) Member {
  std::atomic<uint64_t> came = 0;  // meetings it came to
  std::atomic<uint32_t> left = 0;
  std::atomic<uint32_t> post_lock = 0;  // held to write `post`, or to read it from afar
  Post post;
  std::atomic<Letter> letter = Letter::kNone;
  std::atomic<int32_t> letter_to = -1;
  int32_t number = 0;  // its rank in the first group: what errors call it
  // Of a rank that is a process of its own; process is 0 or started negative where it cannot be
  // watched.
  int64_t process = 0, started = 0;
};

struct Board {
  // Arrivals at all meetings so far. With the top bit set the group is broken: it never changes
  // again, so that a meeting is over for all of its ranks or for none.
  alignas(64) std::atomic<uint64_t> arrivals = 0;
  static constexpr uint64_t kBroken = uint64_t{1} << 63;
  alignas(64) std::atomic<uint32_t> epoch = 0;  // changes when sleepers should look
  std::atomic<uint32_t> sleepers = 0;
  std::atomic<int32_t> reading = 0;  // ranks between Meet() and Part() that may read posts
  Reason broken;
  Reason aborted;  // in the board of a first group: what ends it and all that came from it
  int32_t size = 0;

  Member& member(int rank) { return reinterpret_cast<Member*>(this + 1)[rank]; }
  static size_t BytesFor(int size) { return sizeof(Board) + sizeof(Member) * size; }
  // In zeroed memory, aligned to 64.
  static Board* Make(void* memory, int size);

  // Whoever sleeps looks again.
  void Wake();
  // Until `epoch` is not `seen` any more, or about so long.
  void Sleep(uint32_t seen, std::chrono::nanoseconds longest);
};

}  // namespace ds::comm
