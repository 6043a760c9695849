// A Unit is the parameters that are gathered, reduced and stepped as one: their state as one flat
// array of each kind, cut by one layout, kept as the placement says.
//
//   weights   kSharded --StartGather--> kGathering --FinishGather--> kFull --Drop--> kSharded
//             (kFull always where the placement replicates weights)
//   gradient  kEmpty --BeginGrad--> kLocal --(all came)--> kQueued --Reduce--> kReduced
//             --(step)--> kEmpty
//
// The Unit keeps bytes and does the arithmetic on its own slices; when things happen is decided by
// the Gatherer, the Reducer and the ShardedStore.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "device/lane.h"
#include "device/memory.h"
#include "device/stream.h"
#include "kernels/ops.h"
#include "optim/update_rule.h"
#include "param/param.h"
#include "tensor/shard_layout.h"
#include "zero/placement.h"
#include "zero/rank_groups.h"

namespace ds::zero {

// What all units of a store share. Everything outlives the units.
struct UnitContext {
  Placement placement;
  DType dtype;
  const RankGroups& groups;
  const device::Lane lane;
  const kernels::Ops& ops;
  device::MemoryAccount& account;
};

class Unit {
 public:
  enum class Weights { kSharded, kGathering, kFull };
  enum class Grad { kEmpty, kLocal, kQueued, kReduced };

  // Parameters start on multiples of this many elements.
  static constexpr int64_t kParamAlignment = 8;

  // `rule` steps the parameters; null: they are frozen, and have weights alone.
  Unit(const UnitContext& context, std::string name, const optim::UpdateRule* rule)
      : context_(context), name_(std::move(name)), rule_(rule) {}

  // As many values as Place() makes at a time, at most.
  static constexpr int64_t kPiece = 1 << 20;

  // Appends a parameter with its initial values; returns its offset.
  int64_t Append(const ParamSpec& spec, ParamValues values);
  // No more parameters: allocates the state and fills this rank's part of it, of which alone it
  // asks for the values. Once: a second call is refused, whatever came of the first.
  Status Place();

  const std::string& name() const { return name_; }
  const optim::UpdateRule* rule() const { return rule_; }
  bool frozen() const { return rule_ == nullptr; }
  const ShardLayout& layout() const { return layout_; }
  int64_t elements() const { return elements_; }  // appended so far, gaps included
  int64_t full_bytes() const;                     // of one full array in the training dtype

  // Weights. The Gatherer moves the state; the pointers are of the training dtype.
  Weights weights = Weights::kSharded;
  int acquired = 0;
  device::Ticket gather_ticket = 0;
  device::Buffer gathered;  // window; empty unless kGathering or kFull under sharded weights
  const void* Full(int64_t offset) const;
  // To `window`, of full_bytes(). On the caller's thread, not launched on the lane, and maybe when
  // the unit has another window already.
  Status Gather(const RankGroups& groups, std::byte* window) const;

  // Gradients. The Reducer moves the state.
  Grad grad = Grad::kEmpty;
  int missing = 0;  // parameters whose gradients of this accumulation window are not all here
  device::Ticket reduce_ticket = 0;
  device::Buffer local_grads;  // window; empty unless kLocal, kQueued under sharded gradients
  void* LocalGrad(int64_t offset) const;
  void ZeroLocalGrad(int64_t offset, int64_t numel) const;
  // Means over ranks: multiplies the sum by `scale`. `local` is what LocalGrad(0) was when the last
  // gradient came; on the caller's thread, as Gather.
  Status Reduce(const RankGroups& groups, float scale, const void* local) const;

  // The step (unit_step.cc). `scalars` is of this unit's rule; `decay` in it is set here.
  // Of this rank's slice of the reduced gradient: the squares of each run, in memory of the device.
  size_t square_count() const;
  void SumSquares(double* squares) const;
  // Rules of scope kNorms: as many sums as sum_count(), of which Prepare sets those of this rank's
  // part, in memory of the device; then they are added over the ranks, and handed to Apply.
  size_t sum_count() const;
  void Prepare(const optim::StepScalars& scalars, optim::ParamSums* sums);
  // Rules of scope kMatrix: `direction` is a window of direction_bytes(), `scratch` has
  // scratch_floats(). Collective.
  int64_t direction_bytes() const;
  int64_t scratch_floats() const;
  Status FindDirection(const optim::StepScalars& scalars, kernels::Gemm& gemm, float* direction,
                       float* scratch);
  void Apply(const optim::StepScalars& scalars, std::span<const optim::ParamSums> sums,
             float* direction);
  // Makes the weights that this rank keeps beside its updated ones follow those of the peers.
  Status SpreadWeights();

  // State for persistence (unit_state.cc). SyncRestored() completes what ForEachPiece's visitor
  // filled in.
  Status ForEachPiece(const std::function<Status(const StatePiece&)>& visit);
  Status SyncRestored();
  // The fp32 master weights [offset, offset + out.size()) of all ranks.
  Status ReadMaster(int64_t offset, std::span<float> out);

 private:
  // The elements of one parameter, as matrices [rows, columns] where it has two extents or more.
  struct Segment {
    int64_t begin, end;
    bool decay;
    int64_t rows, columns;
    ParamValues values;  // until placed
  };
  // Elements of one parameter in one slice. The arithmetic of a step goes run by run, so that it is
  // the same whoever keeps the slices.
  struct Run {
    int64_t begin, end;
    int segment, slice;
  };
  static constexpr int kMaster = -1;  // else the number of a state array of the rule

  int64_t First(Cut cut) const { return context_.groups.Kept(cut).begin * layout_.shard(); }
  int64_t Extent(Cut cut) const;
  // The initial values of [begin, begin + out.size()); 0 where there is no parameter.
  Status WriteValues(int64_t begin, std::span<float> out) const;
  Status FillPlaced();
  void CutIntoRuns();
  std::span<const Run> RunsIn(SliceRange slices) const;
  std::span<const Run> OwnRuns() const;      // what the optimizer of this rank keeps
  std::byte* Weight(int64_t element) const;  // in the stored (full or own) weights
  std::byte* ReducedGrad(int64_t element) const;
  float* State(int array, int64_t element) const;
  int state_count() const { return static_cast<int>(states_.size()); }
  bool master_is_weights() const { return context_.dtype == DType::kF32; }
  optim::Tools tools(kernels::Gemm* gemm = nullptr) const;
  optim::UpdateSpan SpanOf(const Run& run, float* direction) const;
  // Values of the host to weights of the device, rounded; and back.
  void Store(std::span<const float> values, std::byte* weights) const;
  Status Load(const std::byte* weights, std::span<float> values) const;
  // Collective, after all that the lane has to do.
  Status Widen(Cut from, Cut to, int64_t slice_bytes, std::byte* piece) const;

  const UnitContext& context_;
  const std::string name_;
  const optim::UpdateRule* const rule_;
  bool placed_ = false;  // or was to be, and half of it is there
  int64_t elements_ = 0;
  std::vector<Segment> segments_;
  std::vector<Run> runs_;  // in order of elements
  ShardLayout layout_;

  // Full (padded) or this rank's piece, as the placement says.
  device::Buffer weights_, grads_;      // training dtype
  device::Buffer master_;               // fp32; none where weights are fp32
  std::vector<device::Buffer> states_;  // fp32, the rule's
};

}  // namespace ds::zero
