#include "zero/reducer.h"

#include <utility>

namespace ds::zero {

Reducer::Reducer(bool asynchronous, float scale, RankGroups groups, const device::Lane& lane,
                 WindowPool& windows)
    : scale_(scale),
      groups_(std::move(groups)),
      lane_(lane),
      windows_(windows),
      stream_(asynchronous, "reductions") {}

void Reducer::Expect(const std::vector<std::unique_ptr<Unit>>& units) {
  order_.clear();
  for (auto it = units.rbegin(); it != units.rend(); ++it) {
    if (!(*it)->frozen()) order_.push_back(it->get());
  }
}

Status Reducer::Open(Unit& unit, bool shards_gradients) {
  unit.grad = Unit::Grad::kLocal;
  if (!shards_gradients) return {};
  if (in_flight_.size() >= kInFlight) DS_TRY(Reclaim());
  DS_ASSIGN(unit.local_grads, windows_.Take(unit.full_bytes()));
  return {};
}

Status Reducer::Queue(Unit& unit) {
  unit.grad = Unit::Grad::kQueued;
  return LaunchReady();
}

Status Reducer::LaunchReady() {
  for (; next_ < order_.size() && order_[next_]->grad == Unit::Grad::kQueued; ++next_) {
    Unit& unit = *order_[next_];
    lane_.Before(stream_);  // what wrote the gradients
    unit.reduce_ticket = stream_.Launch(
        {[](void* unit_, int64_t self, void* local) {
           auto& reducer = *reinterpret_cast<Reducer*>(self);
           return static_cast<Unit*>(unit_)->Reduce(reducer.groups_, reducer.scale_, local);
         },
         &unit, reinterpret_cast<int64_t>(this), unit.LocalGrad(0)});
    unit.grad = Unit::Grad::kReduced;
    in_flight_.push_back(&unit);
  }
  return {};
}

Status Reducer::Reclaim() {
  Unit& unit = *in_flight_.front();
  DS_TRY(lane_.After(stream_, unit.reduce_ticket));
  in_flight_.erase(in_flight_.begin());
  windows_.Give(std::move(unit.local_grads));
  unit.local_grads = {};
  return {};
}

Status Reducer::Finish() {
  while (!in_flight_.empty()) DS_TRY(Reclaim());
  if (next_ < order_.size()) {
    return Error(Code::kInternal, "{}: not queued for reduction", order_[next_]->name());
  }
  return {};
}

void Reducer::EndStep() {
  for (Unit* unit : order_) unit->grad = Unit::Grad::kEmpty;
  next_ = 0;
}

}  // namespace ds::zero
