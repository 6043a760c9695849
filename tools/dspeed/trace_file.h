// Traces of ranks as one file of the Trace Event Format, which Perfetto (ui.perfetto.dev) and
// Chrome (chrome://tracing) show: a process a rank, a thread a lane.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "base/trace.h"

namespace ds::tool {

struct RankTrace {
  int rank;
  const Trace* trace;
};

// When no thread records any more. Times begin with the first event.
Status WriteTrace(const std::string& path, std::span<const RankTrace> ranks);

}  // namespace ds::tool
