#include "base/trace.h"

#include <algorithm>
#include <new>

namespace ds {
namespace {

int64_t Now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

constinit thread_local Trace::Thread::Ring* Trace::Thread::current = nullptr;

Trace::Thread::Thread(Trace* trace, const char* name) : before_(current) {
  current = nullptr;
  if (trace == nullptr || trace->events_ == 0) return;
  try {
    auto ring = std::make_unique<Ring>(Ring{trace, name, std::vector<TraceEvent>(trace->events_)});
    const std::lock_guard lock(trace->mutex_);
    trace->rings_.push_back(std::move(ring));
    current = trace->rings_.back().get();
  } catch (const std::bad_alloc&) {
    // A thread without a record, then: the work goes on.
  }
}

Trace::Thread::~Thread() { current = before_; }

std::vector<Trace::Track> Trace::Tracks() const {
  const std::lock_guard lock(mutex_);
  std::vector<Track> tracks;
  for (const auto& ring : rings_) {
    const uint64_t kept = std::min<uint64_t>(ring->count, ring->events.size());
    Track track = {ring->name, {}, ring->count - kept};
    for (uint64_t i = ring->count - kept; i < ring->count; ++i) {
      track.events.push_back(ring->events[i % ring->events.size()]);
    }
    tracks.push_back(std::move(track));
  }
  return tracks;
}

void TraceSpan::Begin(TraceLane lane, const char* what, std::string_view subject, int64_t bytes) {
  event_.lane = lane;
  event_.what = what;
  event_.bytes = bytes;
  const size_t length = subject.copy(event_.subject, sizeof event_.subject - 1);
  event_.subject[length] = '\0';
  event_.begin_ns = Now();
}

void TraceSpan::End() {
  event_.end_ns = Now();
  ring_->events[ring_->count++ % ring_->events.size()] = event_;
}

}  // namespace ds
