// Decides when weights that are cut over the ranks are gathered, kept and dropped. Gathers run on a
// stream of their own, in the order of acquires; the recorded order of the last step lets them run
// ahead, within a budget. All decisions depend on the sequence of calls alone, never on time, so
// every rank makes the same ones.
#pragma once

#include <memory>
#include <vector>

#include "device/lane.h"
#include "device/stream.h"
#include "zero/order.h"
#include "zero/rank_groups.h"
#include "zero/unit.h"
#include "zero/window_pool.h"

namespace ds::zero {

class Gatherer {
 public:
  // `groups` is this object's own; `windows` outlives it. Weights are used on the lane, and windows
  // change hands there.
  Gatherer(const ZeroOptions& options, RankGroups groups, const device::Lane& lane,
           WindowPool& windows);

  // The unit's index is its place in `units`; both stay.
  Status Acquire(std::vector<std::unique_ptr<Unit>>& units, int index);
  void Release(int index, Unit& unit);
  // What the lane does from now on starts when no gather is under way: the shards, which peers read
  // too, may be written.
  Status Settle(std::vector<std::unique_ptr<Unit>>& units);
  // The weights have changed: every gathered copy is dropped. Nothing may be acquired.
  Status EndStep(std::vector<std::unique_ptr<Unit>>& units);
  // The same after weights were used outside a step; the recorded order stays that of steps.
  Status EndEvaluation(std::vector<std::unique_ptr<Unit>>& units);

 private:
  Status Start(Unit& unit);
  Status Finish(Unit& unit);
  Status Prefetch(std::vector<std::unique_ptr<Unit>>& units);
  // Drops released copies, longest unused first, then early ones, last expected first, until
  // `elements` more fit or none is left.
  Status MakeRoom(std::vector<std::unique_ptr<Unit>>& units, int64_t elements);
  Status DropAll(std::vector<std::unique_ptr<Unit>>& units);
  void Drop(Unit& unit);

  const int64_t max_live_, prefetch_limit_;
  const RankGroups groups_;
  const device::Lane lane_;
  WindowPool& windows_;

  Order order_;
  int64_t live_ = 0;        // elements gathered or being gathered
  int64_t ahead_ = 0;       // of these, elements that nobody acquired yet
  std::vector<int> idle_;   // gathered and released, longest unused first
  std::vector<int> early_;  // gathered ahead, not acquired yet

  device::Stream stream_;  // last: its thread ends first
};

}  // namespace ds::zero
