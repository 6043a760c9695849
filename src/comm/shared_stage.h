// Ranks that are processes of one host: a board and the bytes of each round lie in memory that all
// of them map.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/fate.h"
#include "comm/segment.h"
#include "comm/stage.h"

namespace ds::comm {

// A segment with a board for `size` ranks and room for what they lay out.
size_t SharedStageBytes(int size);
Result<std::shared_ptr<Segment>> CreateSharedSegment(int size);

struct SharedGroup {
  std::shared_ptr<Segment> segment;
  std::shared_ptr<const Rendezvous> origin;  // null for a first group
  std::shared_ptr<Fate> fate;                // null for a first group
  double timeout_seconds = 300;
  const char* backend = "shared";
  // Of memory that the ranks can read where it lies: this process's, and by the ranks of the first
  // group those of the others. All ranks have them, or none.
  device::SharedHeap* heap = nullptr;
  std::shared_ptr<const std::vector<std::unique_ptr<device::SharedHeapView>>> views = {};
  std::function<void()> when_broken = {};  // called as it is left, if it had failed
};

// Rank `rank` of the group whose segment was made by CreateSharedSegment() and is mapped by all.
std::unique_ptr<Stage> CreateSharedStage(const SharedGroup& group, int rank);

// For a first group: the process of a rank, for its peers to watch. Before anyone meets.
void SetProcess(Segment& segment, int rank, const ProcessId& id);

}  // namespace ds::comm
