#include "zero/unit.h"

#include <algorithm>
#include <cstring>

namespace ds::zero {

using device::Buffer;
using device::MemoryKind;

int64_t Unit::Append(int64_t numel, bool decay, std::span<const float> init) {
  const int64_t offset = (elements_ + kParamAlignment - 1) / kParamAlignment * kParamAlignment;
  init_.resize(offset + numel, 0.0f);  // what may throw comes first: then nothing has changed
  segments_.push_back({offset, offset + numel, decay});
  elements_ = offset + numel;
  std::copy(init.begin(), init.end(), init_.begin() + offset);
  return offset;
}

Status Unit::Place() {
  const Placement& place = context_.placement;
  layout_ = {elements_, context_.world};
  const int64_t width = DTypeBytes(context_.dtype);
  const auto extent = [&](bool sharded) { return sharded ? layout_.shard() : layout_.padded(); };
  const auto create = [&](MemoryKind kind, bool sharded, int64_t bytes_each) {
    return Buffer::Create(context_.account, kind, extent(sharded) * bytes_each);
  };
  DS_ASSIGN(weights_, create(MemoryKind::kWeights, place.shards_parameters, width));
  DS_ASSIGN(grads_, create(MemoryKind::kGradients, place.shards_gradients, width));
  if (!master_is_weights()) {
    DS_ASSIGN(master_, create(MemoryKind::kMaster, place.shards_optimizer, 4));
  }
  DS_ASSIGN(moment1_, create(MemoryKind::kMoments, place.shards_optimizer, 4));
  DS_ASSIGN(moment2_, create(MemoryKind::kMoments, place.shards_optimizer, 4));

  init_.resize(layout_.padded(), 0.0f);
  const auto fill = [&](int64_t begin, int64_t end) {  // elements kept, of both arrays
    context_.ops.from_float(context_.pool, end - begin, init_.data() + begin, Weight(begin));
  };
  const int64_t own = layout_.begin(context_.rank);
  place.shards_parameters ? fill(own, own + layout_.shard()) : fill(0, layout_.padded());
  if (!master_is_weights()) {
    const int64_t begin = place.shards_optimizer ? own : 0;
    std::copy_n(init_.begin() + begin, extent(place.shards_optimizer),
                State(Array::kMaster, begin));
  }
  init_ = std::vector<float>();  // {} would keep the memory
  placed_ = true;
  weights = place.shards_parameters ? Weights::kSharded : Weights::kFull;
  return {};
}

int64_t Unit::full_bytes() const { return layout_.padded() * DTypeBytes(context_.dtype); }

std::byte* Unit::Weight(int64_t element) const {
  const int64_t first = context_.placement.shards_parameters ? layout_.begin(context_.rank) : 0;
  return weights_.data() + (element - first) * DTypeBytes(context_.dtype);
}

std::byte* Unit::ReducedGrad(int64_t element) const {
  const int64_t first = context_.placement.shards_gradients ? layout_.begin(context_.rank) : 0;
  return grads_.data() + (element - first) * DTypeBytes(context_.dtype);
}

float* Unit::State(Array array, int64_t element) const {
  if (array == Array::kMaster && master_is_weights()) {
    return reinterpret_cast<float*>(Weight(element));
  }
  const Buffer& buffer = array == Array::kMaster ? master_
                         : array == Array::kM    ? moment1_
                                                 : moment2_;
  const int64_t first = context_.placement.shards_optimizer ? layout_.begin(context_.rank) : 0;
  return reinterpret_cast<float*>(buffer.data()) + (element - first);
}

const void* Unit::Full(int64_t offset) const {
  const std::byte* base = context_.placement.shards_parameters ? gathered.data() : weights_.data();
  return base + offset * DTypeBytes(context_.dtype);
}

Status Unit::Gather(comm::Communicator& comm) {
  const size_t shard_bytes = layout_.shard() * DTypeBytes(context_.dtype);
  return comm.AllGather(name_, {weights_.data(), shard_bytes},
                        {gathered.data(), shard_bytes * context_.world});
}

void* Unit::LocalGrad(int64_t offset) const {
  std::byte* base = context_.placement.shards_gradients ? local_grads.data() : grads_.data();
  return base + offset * DTypeBytes(context_.dtype);
}

void Unit::ZeroLocalGrad(int64_t offset, int64_t numel) const {
  std::memset(LocalGrad(offset), 0, numel * DTypeBytes(context_.dtype));
}

Status Unit::Reduce(comm::Communicator& comm, float scale) {
  const int64_t own = layout_.begin(context_.rank);
  DS_TRY(comm.ReduceScatter(name_, context_.dtype, scale, LocalGrad(0), ReducedGrad(own),
                            layout_.shard()));
  if (context_.placement.shards_optimizer) return {};
  // Reduce-scatter then all-gather is the all-reduce, and gives its slices the same bits.
  return AllGatherInPlace(comm, grads_.data(), DTypeBytes(context_.dtype));
}

Status Unit::AllGatherInPlace(comm::Communicator& comm, std::byte* full, int64_t element_bytes) {
  const size_t shard_bytes = layout_.shard() * element_bytes;
  return comm.AllGather(name_, {full + context_.rank * shard_bytes, shard_bytes},
                        {full, shard_bytes * context_.world});
}

template <typename Body>
void Unit::ForEachSegmentIn(int rank, const Body& body) const {
  const int64_t begin = layout_.begin(rank), end = begin + layout_.used(rank);
  const auto ends_before = [](const Segment& s, int64_t element) { return s.end <= element; };
  auto it = std::lower_bound(segments_.begin(), segments_.end(), begin, ends_before);
  for (; it != segments_.end() && it->begin < end; ++it) {
    body(std::max(begin, it->begin), std::min(end, it->end), it->decay);
  }
}

double Unit::SumOfSquares() const {
  double sum = 0;
  ForEachSegmentIn(context_.rank, [&](int64_t begin, int64_t end, bool) {
    sum += context_.ops.sum_of_squares(context_.pool, end - begin, ReducedGrad(begin));
  });
  return sum;
}

void Unit::Update(const kernels::AdamScalars& decayed, const kernels::AdamScalars& undecayed) {
  if (context_.placement.shards_optimizer) {
    UpdateSlice(context_.rank, decayed, undecayed);
  } else {
    // Slice by slice as the owners would, so that every placement does the same calls.
    for (int r = 0; r < context_.world; ++r) UpdateSlice(r, decayed, undecayed);
  }
}

void Unit::UpdateSlice(int rank, const kernels::AdamScalars& decayed,
                       const kernels::AdamScalars& undecayed) {
  ForEachSegmentIn(rank, [&](int64_t begin, int64_t end, bool decay) {
    context_.ops.adam(context_.pool, end - begin, decay ? decayed : undecayed, ReducedGrad(begin),
                      State(Array::kMaster, begin), State(Array::kM, begin),
                      State(Array::kV, begin), Weight(begin));
  });
}

Status Unit::SpreadWeights(comm::Communicator& comm) {
  if (context_.placement.shards_parameters || !context_.placement.shards_optimizer) return {};
  return AllGatherInPlace(comm, weights_.data(), DTypeBytes(context_.dtype));
}

Status Unit::ForEachPiece(const std::function<Status(const StatePiece&)>& visit) {
  const int64_t begin = layout_.begin(context_.rank);
  const size_t used = layout_.used(context_.rank);
  const auto offer = [&](const char* kind, Array array) {
    return visit({name_ + kind, layout_.numel, begin, {State(array, begin), used}});
  };
  DS_TRY(offer("/master", Array::kMaster));
  DS_TRY(offer("/m", Array::kM));
  return offer("/v", Array::kV);
}

Status Unit::SyncRestored(comm::Communicator& comm) {
  const bool replicated_state = !context_.placement.shards_optimizer;
  if (replicated_state) {
    for (const Array array : {Array::kMaster, Array::kM, Array::kV}) {
      auto* full = reinterpret_cast<std::byte*>(State(array, 0));
      DS_TRY(AllGatherInPlace(comm, full, sizeof(float)));
    }
  }
  if (!master_is_weights()) {
    const int64_t begin = replicated_state ? 0 : layout_.begin(context_.rank);
    const int64_t count = replicated_state ? layout_.padded() : layout_.shard();
    context_.ops.from_float(context_.pool, count, State(Array::kMaster, begin), Weight(begin));
  }
  return SpreadWeights(comm);
}

Status Unit::ReadMaster(comm::Communicator& comm, int64_t offset, std::span<float> out) {
  if (!context_.placement.shards_optimizer) {
    std::copy_n(State(Array::kMaster, offset), out.size(), out.begin());
    return {};
  }
  DS_ASSIGN(Buffer full,
            Buffer::Create(context_.account, MemoryKind::kScratch, layout_.padded() * 4));
  const auto own = std::as_bytes(
      std::span(State(Array::kMaster, layout_.begin(context_.rank)), layout_.shard()));
  DS_TRY(comm.AllGather(name_, own, {full.data(), static_cast<size_t>(full.bytes())}));
  std::copy_n(full.as<float>().begin() + offset, out.size(), out.begin());
  return {};
}

}  // namespace ds::zero
