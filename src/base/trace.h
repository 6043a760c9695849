// What ran when: spans of time that threads record into rings of their own, the last N of each.
// Recording allocates nothing and locks nothing; on a thread that records nothing a span costs the
// test of a pointer. What becomes of the events is the business of who made the trace.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace ds {

enum class TraceLane : uint8_t { kCompute, kComm, kStep };

struct TraceEvent {
  int64_t begin_ns, end_ns;  // of the steady clock
  int64_t bytes;             // that were moved; 0: not said
  const char* what;          // "all_gather": of static life
  char subject[31];          // "h.3", ended by a 0; what is longer is cut
  TraceLane lane;
};

class Trace {
 public:
  // `events` a thread are kept; older ones are overwritten.
  explicit Trace(size_t events) : events_(events) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // While it lives, the calling thread records into the trace, which outlives it; null: it records
  // nothing. `name` is of static life.
  class Thread {
   public:
    Thread(Trace* trace, const char* name);
    ~Thread();
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;

   private:
    friend class Trace;
    friend class TraceSpan;
    struct Ring {
      Trace* trace;
      const char* name;
      std::vector<TraceEvent> events;
      uint64_t count = 0;  // recorded since the start
    };
    Ring* before_;  // of an outer Thread
    static constinit thread_local Ring* current;
  };
  // Of the calling thread, for threads that it starts; null where it records nothing.
  static Trace* Current() { return Thread::current == nullptr ? nullptr : Thread::current->trace; }

  // When no thread records any more. One for each Thread that there was.
  struct Track {
    const char* name;
    std::vector<TraceEvent> events;  // oldest first, by their ends
    uint64_t dropped;                // older ones that were overwritten
  };
  std::vector<Track> Tracks() const;

 private:
  const size_t events_;
  mutable std::mutex mutex_;  // guards rings_; a ring is its thread's own
  std::vector<std::unique_ptr<Thread::Ring>> rings_;
};

// From its construction to the end of its scope.
class TraceSpan {
 public:
  explicit TraceSpan(TraceLane lane, const char* what, std::string_view subject = {},
                     int64_t bytes = 0)
      : ring_(Trace::Thread::current) {
    if (ring_ != nullptr) Begin(lane, what, subject, bytes);
  }
  ~TraceSpan() {
    if (ring_ != nullptr) End();
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  void Begin(TraceLane lane, const char* what, std::string_view subject, int64_t bytes);
  void End();

  Trace::Thread::Ring* const ring_;
  TraceEvent event_;  // set where there is a ring
};

}  // namespace ds
