// The optimizer step of a Unit, run by run.
#include <algorithm>

#include "zero/unit.h"

namespace ds::zero {

using optim::ParamSums;
using optim::StepScalars;
using Scope = optim::UpdateRule::Scope;

std::span<const Unit::Run> Unit::RunsIn(SliceRange slices) const {
  const auto before = [](const Run& run, int slice) { return run.slice < slice; };
  const auto begin = std::lower_bound(runs_.begin(), runs_.end(), slices.begin, before);
  return {begin, std::lower_bound(begin, runs_.end(), slices.end, before)};
}

std::span<const Unit::Run> Unit::OwnRuns() const {
  return RunsIn(context_.groups.Kept(context_.placement.optimizer));
}

optim::Tools Unit::tools(kernels::Gemm* gemm) const { return {context_.ops, context_.lane, gemm}; }

optim::UpdateSpan Unit::SpanOf(const Run& run, float* direction) const {
  optim::UpdateSpan span = {.n = run.end - run.begin,
                            .grad = ReducedGrad(run.begin),
                            .master = State(kMaster, run.begin),
                            .states = {},
                            .weights = Weight(run.begin)};
  if (direction != nullptr) span.direction = direction + run.begin;
  for (int i = 0; i < state_count(); ++i) span.states[i] = State(i, run.begin);
  return span;
}

size_t Unit::square_count() const { return RunsIn(context_.groups.Kept(Cut::kWorld)).size(); }

void Unit::SumSquares(double* squares) const {
  for (const Run& run : RunsIn(context_.groups.Kept(Cut::kWorld))) {
    context_.ops.sum_of_squares(context_.lane, run.end - run.begin, ReducedGrad(run.begin),
                                squares++);
  }
}

size_t Unit::sum_count() const {
  return !frozen() && rule_->scope() == Scope::kNorms ? runs_.size() : 0;
}

void Unit::Prepare(const StepScalars& scalars, ParamSums* sums) {
  for (const Run& run : OwnRuns()) {
    StepScalars own = scalars;
    own.decay = segments_[run.segment].decay;
    rule_->Prepare(tools(), own, SpanOf(run, nullptr), sums + (&run - runs_.data()));
  }
}

int64_t Unit::direction_bytes() const {
  const bool needed = !frozen() && rule_->scope() == Scope::kMatrix;
  return needed ? layout_.padded() * static_cast<int64_t>(sizeof(float)) : 0;
}

int64_t Unit::scratch_floats() const {
  int64_t most = 0;
  if (direction_bytes() == 0) return most;
  for (const Segment& s : segments_) {
    most = std::max(most, rule_->scratch_floats(s.rows, s.columns));
  }
  return most;
}

Status Unit::FindDirection(const StepScalars& scalars, kernels::Gemm& gemm, float* direction,
                           float* scratch) {
  for (const Run& run : OwnRuns()) {
    StepScalars own = scalars;
    own.decay = segments_[run.segment].decay;
    rule_->Prepare(tools(), own, SpanOf(run, direction), nullptr);
  }
  const Cut cut = context_.placement.optimizer;
  DS_TRY(Widen(cut, Cut::kNone, layout_.shard() * int64_t{sizeof(float)},
               reinterpret_cast<std::byte*>(direction)));
  // A matrix that lies in several pieces is done by each of their ranks: that costs less than to
  // send the result.
  const int64_t begin = First(cut), end = begin + Extent(cut);
  for (const Segment& s : segments_) {
    const int64_t each = s.rows * s.columns;
    for (int64_t at = s.begin; at < s.end; at += each) {
      if (at < end && at + each > begin) {
        DS_TRY(rule_->TransformWhole(tools(&gemm), s.rows, s.columns, direction + at, scratch));
      }
    }
  }
  return {};
}

void Unit::Apply(const StepScalars& scalars, std::span<const ParamSums> sums, float* direction) {
  for (const Run& run : OwnRuns()) {
    const Segment& segment = segments_[run.segment];
    StepScalars own = scalars;
    own.decay = segment.decay;
    ParamSums whole;
    if (!sums.empty()) {  // of the parameter: its runs, in order
      size_t r = &run - runs_.data();
      while (r > 0 && runs_[r - 1].segment == run.segment) --r;
      for (; r < runs_.size() && runs_[r].segment == run.segment; ++r) {
        whole.weights += sums[r].weights;
        whole.direction += sums[r].direction;
      }
    }
    rule_->Apply(tools(), own, SpanOf(run, direction), whole);
  }
}

Status Unit::SpreadWeights() {
  const auto& [name, optimizer, gradients, parameters] = context_.placement;
  if (parameters >= optimizer) return {};
  const int64_t slice_bytes = layout_.shard() * static_cast<int64_t>(DTypeBytes(context_.dtype));
  return Widen(optimizer, parameters, slice_bytes, weights_.data());
}

}  // namespace ds::zero
