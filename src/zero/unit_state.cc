// The state of a Unit as it is saved, restored and read.
#include <algorithm>

#include "zero/unit.h"

namespace ds::zero {

using device::Buffer;
using device::MemoryKind;

Status Unit::ForEachPiece(const std::function<Status(const StatePiece&)>& visit) {
  if (frozen()) return OfferFrozen(visit);
  const int slice = context_.groups.slice();
  const size_t used = layout_.used(slice);
  const auto offer = [&](const char* kind, int array) {
    const int64_t begin = layout_.begin(slice);
    return visit(
        {fmt::format("{}/{}", name_, kind), layout_.numel, begin, {State(array, begin), used}});
  };
  DS_TRY(offer("master", kMaster));
  for (int i = 0; i < state_count(); ++i) DS_TRY(offer(rule_->state_names()[i], i));
  return {};
}

// Frozen weights have no fp32 form of their own: the visitor sees them widened, and what it leaves
// is rounded back, which gives the same bits where it only read.
Status Unit::OfferFrozen(const std::function<Status(const StatePiece&)>& visit) {
  const int slice = context_.groups.slice();
  const int64_t begin = layout_.begin(slice), used = layout_.used(slice);
  std::vector<float> values(used);
  context_.ops.to_float(context_.pool, used, Weight(begin), values.data());
  DS_TRY(visit({name_ + "/weights", layout_.numel, begin, values}));
  context_.ops.from_float(context_.pool, used, values.data(), Weight(begin));
  return {};
}

Status Unit::SyncRestored() {
  const auto& [name, optimizer, gradients, parameters] = context_.placement;
  const int64_t shard = layout_.shard();
  if (frozen()) {
    const auto slice_bytes = static_cast<int64_t>(shard * DTypeBytes(context_.dtype));
    return context_.groups.Widen(name_, Cut::kWorld, parameters, slice_bytes, weights_.data());
  }
  for (int i = kMaster; i < state_count(); ++i) {
    auto* piece = reinterpret_cast<std::byte*>(State(i, First(optimizer)));
    DS_TRY(context_.groups.Widen(name_, Cut::kWorld, optimizer, shard * int64_t{sizeof(float)},
                                 piece));
  }
  if (!master_is_weights()) {
    const int64_t begin = First(optimizer);
    context_.ops.from_float(context_.pool, Extent(optimizer), State(kMaster, begin), Weight(begin));
  }
  return SpreadWeights();
}

Status Unit::ReadMaster(int64_t offset, std::span<float> out) {
  const Cut cut = frozen() ? context_.placement.parameters : context_.placement.optimizer;
  const auto width = static_cast<int64_t>(frozen() ? DTypeBytes(context_.dtype) : sizeof(float));
  const std::byte* full =
      frozen() ? Weight(First(cut)) : reinterpret_cast<std::byte*>(State(kMaster, First(cut)));
  Buffer gathered_state;
  if (cut != Cut::kNone) {
    DS_ASSIGN(gathered_state,
              Buffer::Create(context_.account, MemoryKind::kScratch, layout_.padded() * width));
    std::copy_n(full, Extent(cut) * width, gathered_state.data() + First(cut) * width);
    DS_TRY(context_.groups.Widen(name_, cut, Cut::kNone, layout_.shard() * width,
                                 gathered_state.data()));
    full = gathered_state.data();
  }
  if (frozen()) {
    context_.ops.to_float(context_.pool, static_cast<int64_t>(out.size()), full + offset * width,
                          out.data());
  } else {
    std::copy_n(reinterpret_cast<const float*>(full) + offset, out.size(), out.begin());
  }
  return {};
}

}  // namespace ds::zero
