#include "trace_file.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace ds::tool {
namespace {

constexpr size_t kPiece = 1 << 20;
constexpr const char* kLanes[] = {"compute", "comm", "step"};
constexpr int kLaneCount = 3;

struct RankTracks {
  int rank;
  std::vector<Trace::Track> tracks;
};

std::string Quoted(std::string_view text) { return DumpJson(Json(text), -1); }

// Lanes of the first thread, which drives the rank, have their own names; those of the others the
// name of the thread.
int LaneNumber(size_t thread, TraceLane lane) {
  return static_cast<int>(thread) * kLaneCount + static_cast<int>(lane);
}

class Writer {
 public:
  Writer(AtomicFile& file, int64_t start_ns) : file_(file), start_ns_(start_ns) {}

  Status Name(int rank, const char* what, int lane, const std::string& name) {
    return Add(fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":{}}}}})",
                           what, rank, lane, Quoted(name)));
  }
  Status Event(int rank, int lane, const TraceEvent& event) {
    const std::string name =
        event.subject[0] == '\0' ? event.what : fmt::format("{} {}", event.what, event.subject);
    const std::string bytes =
        event.bytes > 0 ? fmt::format(R"(,"args":{{"bytes":{}}})", event.bytes) : "";
    return Add(fmt::format(
        R"({{"ph":"X","name":{},"cat":"{}","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}{}}})",
        Quoted(name), kLanes[static_cast<int>(event.lane)], rank, lane,
        static_cast<double>(event.begin_ns - start_ns_) / 1e3,
        static_cast<double>(event.end_ns - event.begin_ns) / 1e3, bytes));
  }
  Status Finish() {
    text_ += fmt::format("\n],\"displayTimeUnit\":\"ms\",\"otherData\":{{\"dropped\":{}}}}}\n",
                         dropped_);
    return file_.Write(text_);
  }
  void AddDropped(uint64_t events) { dropped_ += events; }

 private:
  Status Add(const std::string& line) {
    text_ += (first_ ? "{\"traceEvents\":[\n" : ",\n") + line;
    first_ = false;
    if (text_.size() < kPiece) return {};
    DS_TRY(file_.Write(text_));
    text_.clear();
    return {};
  }

  AtomicFile& file_;
  const int64_t start_ns_;
  std::string text_;
  bool first_ = true;
  uint64_t dropped_ = 0;
};

Status WriteRank(Writer& writer, const RankTracks& rank) {
  DS_TRY(writer.Name(rank.rank, "process_name", 0, fmt::format("rank {}", rank.rank)));
  for (size_t thread = 0; thread < rank.tracks.size(); ++thread) {
    const Trace::Track& track = rank.tracks[thread];
    writer.AddDropped(track.dropped);
    bool named[kLaneCount] = {};
    for (const TraceEvent& event : track.events) {
      const int lane = LaneNumber(thread, event.lane);
      if (bool& done = named[static_cast<int>(event.lane)]; !done) {
        done = true;
        const char* name = kLanes[static_cast<int>(event.lane)];
        DS_TRY(writer.Name(rank.rank, "thread_name", lane,
                           thread == 0 ? name : fmt::format("{}: {}", name, track.name)));
      }
      DS_TRY(writer.Event(rank.rank, lane, event));
    }
  }
  return {};
}

}  // namespace

Status WriteTrace(const std::string& path, std::span<const RankTrace> ranks) {
  std::vector<RankTracks> all;
  int64_t start = std::numeric_limits<int64_t>::max();
  for (const RankTrace& rank : ranks) {
    all.push_back({rank.rank, rank.trace->Tracks()});
    for (Trace::Track& track : all.back().tracks) {
      // By their beginnings, the outer before the inner.
      std::sort(track.events.begin(), track.events.end(),
                [](const TraceEvent& a, const TraceEvent& b) {
                  return a.begin_ns != b.begin_ns ? a.begin_ns < b.begin_ns : a.end_ns > b.end_ns;
                });
      if (!track.events.empty()) start = std::min(start, track.events.front().begin_ns);
    }
  }
  DS_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  Writer writer(file, start);
  for (const RankTracks& rank : all) DS_TRY(WriteRank(writer, rank));
  DS_TRY(writer.Finish());
  return file.Commit();
}

}  // namespace ds::tool
