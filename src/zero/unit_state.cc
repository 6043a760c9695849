// The state of a Unit as it is saved, restored and read.
#include <vector>

#include "zero/unit.h"

namespace ds::zero {

using device::Buffer;
using device::MemoryKind;

Status Unit::ForEachPiece(const std::function<Status(const StatePiece&)>& visit) {
  if (frozen()) return {};
  const int slice = context_.groups.slice();
  const size_t used = layout_.used(slice);
  std::vector<float> copy;  // where the host has no part in the memory
  const auto offer = [&](const char* kind, int array) -> Status {
    const int64_t begin = layout_.begin(slice);
    StatePiece piece = {fmt::format("{}/{}", name_, kind), layout_.numel, begin, {}};
    float* const state = State(array, begin);
    if (context_.lane.at_once()) {
      piece.data = {state, used};
      return visit(piece);
    }
    copy.resize(used);
    piece.data = copy;
    const auto bytes = static_cast<int64_t>(used * sizeof(float));
    DS_TRY(context_.lane.Download(copy.data(), state, bytes));
    DS_TRY(visit(piece));
    context_.lane.Upload(state, copy.data(), bytes);
    return {};
  };
  DS_TRY(offer("master", kMaster));
  for (int i = 0; i < state_count(); ++i) DS_TRY(offer(rule_->state_names()[i], i));
  return {};
}

void Unit::Store(std::span<const float> values, std::byte* weights) const {
  const auto n = static_cast<int64_t>(values.size());
  TaskPool& pool = context_.lane.pool();
  if (context_.lane.at_once()) return context_.ops.from_float(pool, n, values.data(), weights);
  std::vector<std::byte> rounded(values.size() * DTypeBytes(context_.dtype));
  kernels::BestOps(context_.dtype).from_float(pool, n, values.data(), rounded.data());
  context_.lane.Upload(weights, rounded.data(), static_cast<int64_t>(rounded.size()));
}

Status Unit::Load(const std::byte* weights, std::span<float> values) const {
  const auto n = static_cast<int64_t>(values.size());
  TaskPool& pool = context_.lane.pool();
  if (context_.lane.at_once()) {
    context_.ops.to_float(pool, n, weights, values.data());
    return {};
  }
  std::vector<std::byte> rounded(values.size() * DTypeBytes(context_.dtype));
  DS_TRY(context_.lane.Download(rounded.data(), weights, static_cast<int64_t>(rounded.size())));
  kernels::BestOps(context_.dtype).to_float(pool, n, rounded.data(), values.data());
  return {};
}

Status Unit::Widen(Cut from, Cut to, int64_t slice_bytes, std::byte* piece) const {
  DS_TRY(context_.lane.Sync());
  return context_.groups.Widen(name_, from, to, slice_bytes, piece);
}

Status Unit::SyncRestored() {
  if (frozen()) return {};
  const Cut optimizer = context_.placement.optimizer;
  const int64_t shard = layout_.shard();
  for (int i = kMaster; i < state_count(); ++i) {
    auto* piece = reinterpret_cast<std::byte*>(State(i, First(optimizer)));
    DS_TRY(Widen(Cut::kWorld, optimizer, shard * int64_t{sizeof(float)}, piece));
  }
  if (!master_is_weights()) {
    const int64_t begin = First(optimizer);
    context_.ops.from_float(context_.lane, Extent(optimizer), State(kMaster, begin), Weight(begin));
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
    context_.lane.Copy(gathered_state.data() + First(cut) * width, full, Extent(cut) * width);
    DS_TRY(Widen(cut, Cut::kNone, layout_.shard() * width, gathered_state.data()));
    full = gathered_state.data();
  }
  if (frozen()) return Load(full + offset * width, out);
  return context_.lane.Download(out.data(), full + offset * width,
                                static_cast<int64_t>(out.size_bytes()));
}

}  // namespace ds::zero
