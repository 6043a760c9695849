// Decides when local gradients are reduced over the ranks: unit by unit in one order that all ranks
// share, whatever the order in which gradients arrive, on a stream of its own.
#pragma once

#include <memory>
#include <vector>

#include "device/lane.h"
#include "device/stream.h"
#include "zero/rank_groups.h"
#include "zero/unit.h"
#include "zero/window_pool.h"

namespace ds::zero {

class Reducer {
 public:
  // `groups` is this object's own; `windows` outlives it. Gradients are multiplied by `scale`. They
  // are written on the lane, and windows change hands there.
  Reducer(bool asynchronous, float scale, RankGroups groups, const device::Lane& lane,
          WindowPool& windows);

  // The units to expect, once, but for frozen ones: backward passes meet them last first.
  void Expect(const std::vector<std::unique_ptr<Unit>>& units);

  // The first gradient of the unit in this accumulation window is about to be written.
  Status Open(Unit& unit, bool shards_gradients);
  // The unit's last gradient is here.
  Status Queue(Unit& unit);
  // Every unit is queued: what the lane does from now on starts when all are reduced.
  Status Finish();
  // Ready for the next accumulation window.
  void EndStep();

 private:
  // Windows that wait for their reduction; one more would only hold memory.
  static constexpr size_t kInFlight = 2;

  Status LaunchReady();
  Status Reclaim();

  const float scale_;
  const RankGroups groups_;
  const device::Lane lane_;
  WindowPool& windows_;

  std::vector<Unit*> order_;
  size_t next_ = 0;               // first of order_ that was not launched
  std::vector<Unit*> in_flight_;  // launched, window not reclaimed

  device::Stream stream_;  // last: its thread ends first
};

}  // namespace ds::zero
