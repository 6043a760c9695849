#include "zero/unit.h"

#include <algorithm>

namespace ds::zero {

using device::Buffer;
using device::MemoryKind;

int64_t Unit::Append(const ParamSpec& spec, ParamValues values) {
  const int64_t numel = spec.numel();
  const int64_t offset = (elements_ + kParamAlignment - 1) / kParamAlignment * kParamAlignment;
  Segment segment = {offset, offset + numel, spec.weight_decay, 0, 0, std::move(values)};
  // A stack of matrices has three extents; with more, all but the first are columns, as DeepSpeed
  // views convolutions (runtime/zero/muon/original_muon.py).
  if (const auto& shape = spec.shape; shape.size() >= 2 && numel > 0) {
    const bool stack = shape.size() == 3;
    segment.rows = shape[stack ? 1 : 0];
    segment.columns = numel / (segment.rows * (stack ? shape[0] : 1));
  }
  segments_.push_back(std::move(segment));
  elements_ = offset + numel;
  return offset;
}

int64_t Unit::Extent(Cut cut) const {
  const SliceRange kept = context_.groups.Kept(cut);
  return (kept.end - kept.begin) * layout_.shard();
}

Status Unit::Place() {
  if (placed_) return Error(Code::kInternal, "{}: its unit is placed a second time", name_);
  placed_ = true;
  const Placement& place = context_.placement;
  layout_ = {elements_, context_.groups.world().size()};
  const int64_t width = DTypeBytes(context_.dtype);
  const auto create = [&](MemoryKind kind, Cut cut, int64_t bytes_each) {
    return Buffer::Create(context_.account, kind, Extent(cut) * bytes_each);
  };
  DS_ASSIGN(weights_, create(MemoryKind::kWeights, place.parameters, width));
  if (!frozen()) {
    DS_ASSIGN(grads_, create(MemoryKind::kGradients, place.gradients, width));
    if (!master_is_weights()) {
      DS_ASSIGN(master_, create(MemoryKind::kMaster, place.optimizer, 4));
    }
    for (size_t i = 0; i < rule_->state_names().size(); ++i) {
      DS_ASSIGN(Buffer state, create(MemoryKind::kMoments, place.optimizer, 4));
      states_.push_back(std::move(state));
    }
  }

  DS_TRY(FillPlaced());
  for (Segment& segment : segments_) segment.values = {};
  CutIntoRuns();
  weights = place.shards_parameters() ? Weights::kSharded : Weights::kFull;
  return {};
}

Status Unit::WriteValues(int64_t begin, std::span<float> out) const {
  std::fill(out.begin(), out.end(), 0.0f);
  const int64_t end = begin + static_cast<int64_t>(out.size());
  for (const Segment& segment : segments_) {
    const int64_t from = std::max(begin, segment.begin), to = std::min(end, segment.end);
    if (from >= to) continue;
    DS_TRY(segment.values.Write(from - segment.begin, out.subspan(from - begin, to - from)));
  }
  return {};
}

// Piece by piece: through memory of the host, or where the weights are fp32 of the host, in place.
// The slices that the optimizer keeps are among those of the weights.
Status Unit::FillPlaced() {
  const Placement& place = context_.placement;
  const bool in_place = master_is_weights() && context_.lane.at_once();
  const int64_t first = First(place.parameters), end = first + Extent(place.parameters);
  const int64_t master_first = First(place.optimizer);
  const int64_t master_end = master_.bytes() == 0 ? 0 : master_first + Extent(place.optimizer);
  std::vector<float> piece(in_place ? 0 : std::min(kPiece, end - first));
  for (int64_t at = first; at < end; at += kPiece) {
    const auto size = static_cast<size_t>(std::min(kPiece, end - at));
    if (in_place) {
      DS_TRY(WriteValues(at, {reinterpret_cast<float*>(Weight(at)), size}));
      continue;
    }
    DS_TRY(WriteValues(at, {piece.data(), size}));
    Store({piece.data(), size}, Weight(at));
    const int64_t from = std::max(at, master_first);
    const int64_t to = std::min(at + static_cast<int64_t>(size), master_end);
    if (from >= to) continue;
    context_.lane.Upload(State(kMaster, from), piece.data() + (from - at),
                         (to - from) * int64_t{sizeof(float)});
  }
  return {};
}

void Unit::CutIntoRuns() {
  if (frozen()) return;
  const int64_t shard = layout_.shard();
  for (size_t s = 0; s < segments_.size(); ++s) {
    for (int64_t at = segments_[s].begin; at < segments_[s].end;) {
      const int64_t slice = at / shard, end = std::min(segments_[s].end, (slice + 1) * shard);
      runs_.push_back({at, end, static_cast<int>(s), static_cast<int>(slice)});
      at = end;
    }
  }
}

int64_t Unit::full_bytes() const { return layout_.padded() * DTypeBytes(context_.dtype); }

std::byte* Unit::Weight(int64_t element) const {
  const int64_t first = First(context_.placement.parameters);
  return weights_.data() + (element - first) * DTypeBytes(context_.dtype);
}

std::byte* Unit::ReducedGrad(int64_t element) const {
  const int64_t first = First(context_.placement.gradients);
  return grads_.data() + (element - first) * DTypeBytes(context_.dtype);
}

float* Unit::State(int array, int64_t element) const {
  if (array == kMaster && master_is_weights()) return reinterpret_cast<float*>(Weight(element));
  const Buffer& buffer = array == kMaster ? master_ : states_[array];
  return reinterpret_cast<float*>(buffer.data()) + (element - First(context_.placement.optimizer));
}

const void* Unit::Full(int64_t offset) const {
  const Buffer& buffer = context_.placement.shards_parameters() ? gathered : weights_;
  return buffer.data() + offset * DTypeBytes(context_.dtype);
}

Status Unit::Gather(const RankGroups& groups, std::byte* window) const {
  comm::Communicator& comm = groups.group();
  const size_t bytes = Extent(context_.placement.parameters) * DTypeBytes(context_.dtype);
  return comm.AllGather(name_, {weights_.data(), bytes}, {window, bytes * comm.size()});
}

void* Unit::LocalGrad(int64_t offset) const {
  const Buffer& buffer = context_.placement.shards_gradients() ? local_grads : grads_;
  return buffer.data() + offset * DTypeBytes(context_.dtype);
}

void Unit::ZeroLocalGrad(int64_t offset, int64_t numel) const {
  context_.lane.Zero(LocalGrad(offset), numel * static_cast<int64_t>(DTypeBytes(context_.dtype)));
}

Status Unit::Reduce(const RankGroups& groups, float scale, const void* local) const {
  const int64_t shard = layout_.shard();
  DS_TRY(groups.world().ReduceScatter(name_, context_.dtype, scale, local,
                                      ReducedGrad(groups.slice() * shard), shard, groups.slices()));
  // Reduce-scatter then all-gather is the all-reduce, and gives its slices the same bits.
  const Cut needed = context_.placement.optimizer;
  const auto slice_bytes = static_cast<int64_t>(shard * DTypeBytes(context_.dtype));
  return groups.Widen(name_, Cut::kWorld, needed, slice_bytes, ReducedGrad(First(needed)));
}

}  // namespace ds::zero
