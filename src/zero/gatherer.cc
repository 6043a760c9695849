#include "zero/gatherer.h"

#include <algorithm>
#include <utility>

namespace ds::zero {
namespace {

// Removes the value; says whether it was there.
bool Erase(std::vector<int>& list, int value) {
  const auto it = std::find(list.begin(), list.end(), value);
  if (it == list.end()) return false;
  list.erase(it);
  return true;
}

}  // namespace

Gatherer::Gatherer(const ZeroOptions& options, RankGroups groups, const device::Lane& lane,
                   WindowPool& windows)
    : max_live_(options.max_live_parameters),
      prefetch_limit_(options.overlap_comm ? options.prefetch_bucket_size : 0),
      groups_(std::move(groups)),
      lane_(lane),
      windows_(windows),
      stream_(options.overlap_comm, "gathers") {}

Status Gatherer::Acquire(std::vector<std::unique_ptr<Unit>>& units, int index) {
  Unit& unit = *units[index];
  if (unit.acquired == 0) {
    idle_.reserve(units.size());  // here, where peers are told of it: Release() must not fail
    order_.Use(index);
    Erase(idle_, index);
    if (Erase(early_, index)) ahead_ -= unit.layout().padded();
    if (unit.weights == Unit::Weights::kSharded) {
      DS_TRY(MakeRoom(units, unit.layout().padded()));
      DS_TRY(Start(unit));
    }
    ++unit.acquired;  // before the prefetch, which must not drop it
    DS_TRY(Prefetch(units));
    return Finish(unit);
  }
  ++unit.acquired;
  return {};
}

Status Gatherer::Start(Unit& unit) {
  DS_ASSIGN(unit.gathered, windows_.Take(unit.full_bytes()));
  unit.weights = Unit::Weights::kGathering;
  live_ += unit.layout().padded();
  lane_.Before(stream_);  // what the lane did with the shards, and with the window before
  unit.gather_ticket = stream_.Launch(
      {[](void* unit_, int64_t groups, void* window) {
         return static_cast<Unit*>(unit_)->Gather(*reinterpret_cast<const RankGroups*>(groups),
                                                  static_cast<std::byte*>(window));
       },
       &unit, reinterpret_cast<int64_t>(&groups_), unit.gathered.data()});
  return {};
}

Status Gatherer::Finish(Unit& unit) {
  if (unit.weights != Unit::Weights::kGathering) return {};
  DS_TRY(lane_.After(stream_, unit.gather_ticket));
  unit.weights = Unit::Weights::kFull;
  return {};
}

Status Gatherer::Prefetch(std::vector<std::unique_ptr<Unit>>& units) {
  for (const int index : order_.Coming()) {
    Unit& next = *units[index];
    if (next.weights != Unit::Weights::kSharded) continue;
    const int64_t elements = next.layout().padded();
    if (ahead_ + elements > prefetch_limit_ || live_ + elements > max_live_) break;
    DS_TRY(Start(next));
    early_.push_back(index);
    ahead_ += elements;
  }
  return {};
}

void Gatherer::Release(int index, Unit& unit) {
  if (--unit.acquired == 0) idle_.push_back(index);
  if (unit.acquired == 0 && live_ > max_live_) {
    Erase(idle_, index);
    Drop(unit);
  }
}

Status Gatherer::MakeRoom(std::vector<std::unique_ptr<Unit>>& units, int64_t elements) {
  while (!idle_.empty() && live_ + elements > max_live_) {
    Drop(*units[idle_.front()]);
    idle_.erase(idle_.begin());
  }
  // What was foretold for later, or wrongly, gives way to what is used now.
  while (!early_.empty() && live_ + elements > max_live_) {
    Unit& unit = *units[early_.back()];
    DS_TRY(Finish(unit));
    Drop(unit);
    ahead_ -= unit.layout().padded();
    early_.pop_back();
  }
  return {};
}

void Gatherer::Drop(Unit& unit) {
  windows_.Give(std::move(unit.gathered));
  unit.gathered = {};
  unit.weights = Unit::Weights::kSharded;
  live_ -= unit.layout().padded();
}

Status Gatherer::Settle(std::vector<std::unique_ptr<Unit>>& units) {
  for (const int index : early_) DS_TRY(Finish(*units[index]));
  return {};
}

Status Gatherer::EndStep(std::vector<std::unique_ptr<Unit>>& units) {
  DS_TRY(DropAll(units));
  order_.EndStep();
  return {};
}

Status Gatherer::EndEvaluation(std::vector<std::unique_ptr<Unit>>& units) {
  DS_TRY(DropAll(units));
  order_.Forget();
  return {};
}

Status Gatherer::DropAll(std::vector<std::unique_ptr<Unit>>& units) {
  DS_TRY(Settle(units));
  for (const int index : early_) Drop(*units[index]);
  for (const int index : idle_) Drop(*units[index]);
  early_.clear();
  idle_.clear();
  ahead_ = 0;
  return {};
}

}  // namespace ds::zero
