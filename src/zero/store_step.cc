// The part of ShardedStore that steps: norm, update, and what rules of whole parameters need.
#include <algorithm>
#include <cmath>

#include "zero/sharded_store.h"

namespace ds::zero {

using optim::ParamSums;
using optim::StepScalars;

Status ShardedStore::ReserveForStep() {
  size_t norms = 0, squares = 0;
  int64_t floats = 0;
  for (const auto& unit : units_) {
    squares += unit->square_count();
    norms += unit->sum_count();
    floats = std::max(floats, unit->scratch_floats());
  }
  squares_.resize(squares);
  norms_.resize(norms);
  const auto scratch = [&](size_t count, size_t each) {
    return device::Buffer::Create(context_.account, device::MemoryKind::kScratch,
                                  static_cast<int64_t>(count * each));
  };
  DS_ASSIGN(device_squares_, scratch(squares, sizeof(double)));
  DS_ASSIGN(device_norms_, scratch(norms, sizeof(ParamSums)));
  DS_ASSIGN(matrix_scratch_, scratch(static_cast<size_t>(floats), sizeof(float)));
  return {};
}

Result<ShardedStore::Norm> ShardedStore::GradNorm(bool flag) {
  const PhaseTimer timer(phases_.norm, TraceLane::kStep, "gradient norm");
  std::fill(slice_sums_.begin(), slice_sums_.end(), 0.0);
  double* next = device_squares_.as<double>().data();
  for (const auto& unit : units_) {
    unit->SumSquares(next);
    next += unit->square_count();
  }
  DS_TRY(Sticky(context_.lane.Download(squares_.data(), device_squares_.data(),
                                       static_cast<int64_t>(squares_.size() * sizeof(double)))));
  double& own = slice_sums_[groups_.slice()];
  size_t at = 0;
  for (const auto& unit : units_) {
    double sum = 0;
    for (size_t end = at + unit->square_count(); at < end; ++at) sum += squares_[at];
    own += sum;
  }
  slice_sums_.back() = flag ? 1 : 0;
  DS_TRY(Sticky(groups_.world().AllReduce("gradient norm", slice_sums_)));
  // In the order of slices, whoever keeps them.
  double sum = 0;
  for (int slice = 0; slice < comm_.size(); ++slice) sum += slice_sums_[slice];
  return Norm{std::sqrt(sum), slice_sums_.back() > 0};
}

Status ShardedStore::AllReduce(const char* what, std::span<double> values) {
  return Sticky(groups_.world().AllReduce(what, values));
}

Status ShardedStore::Update(ScalarsOf scalars) {
  const PhaseTimer timer(phases_.update, TraceLane::kStep, "optimizer step");
  DS_TRY(Sticky(gatherer_->Settle(units_)));
  if (!norms_.empty()) DS_TRY(Sticky(AddNorms(scalars)));
  std::span<const ParamSums> sums = norms_;
  for (const auto& unit : units_) {
    if (unit->frozen()) continue;
    const StepScalars mine = scalars(*unit->rule());
    if (unit->direction_bytes() > 0) {
      DS_TRY(Sticky(UpdateMatrices(*unit, mine)));
    } else {
      unit->Apply(mine, sums.first(unit->sum_count()), nullptr);
      sums = sums.subspan(unit->sum_count());
    }
    DS_TRY(Sticky(unit->SpreadWeights()));
  }
  return {};
}

// Every sum is set by one rank of those that share the state, and is 0 on the others: adding them
// rounds nothing.
Status ShardedStore::AddNorms(ScalarsOf scalars) {
  const auto bytes = static_cast<int64_t>(norms_.size() * sizeof(ParamSums));
  context_.lane.Zero(device_norms_.data(), bytes);
  auto* sums = reinterpret_cast<ParamSums*>(device_norms_.data());
  for (const auto& unit : units_) {
    if (unit->sum_count() == 0) continue;
    unit->Prepare(scalars(*unit->rule()), sums);
    sums += unit->sum_count();
  }
  DS_TRY(context_.lane.Download(norms_.data(), device_norms_.data(), bytes));
  if (context_.placement.optimizer == Cut::kNone) return {};
  const bool in_group = context_.placement.optimizer == Cut::kGroup;
  comm::Communicator& comm = in_group ? groups_.group() : groups_.world();
  static_assert(sizeof(ParamSums) == 2 * sizeof(double));
  return comm.AllReduce("parameter norms", {&norms_[0].weights, 2 * norms_.size()});
}

Status ShardedStore::UpdateMatrices(Unit& unit, const StepScalars& scalars) {
  DS_ASSIGN(device::Buffer window, windows_.Take(unit.direction_bytes()));
  float* direction = window.as<float>().data();
  const Status found =
      unit.FindDirection(scalars, gemm_, direction, matrix_scratch_.as<float>().data());
  if (found.ok()) unit.Apply(scalars, {}, direction);
  windows_.Give(std::move(window));
  return found;
}

}  // namespace ds::zero
