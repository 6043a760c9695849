// A Unit is the parameters that are gathered, reduced and stepped as one: their state as one flat
// array of each kind, cut by one layout, kept as the placement says.
//
//   weights   kSharded --StartGather--> kGathering --FinishGather--> kFull --Drop--> kSharded
//             (kFull always where the placement replicates weights)
//   gradient  kEmpty --BeginGrad--> kLocal --(all came)--> kQueued --Reduce--> kReduced
//             --(step)--> kEmpty
//
// The Unit keeps bytes and does the arithmetic on its own slice; when things happen is decided by
// the Gatherer, the Reducer and the ShardedStore.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/task_pool.h"
#include "comm/communicator.h"
#include "device/memory.h"
#include "device/stream.h"
#include "kernels/ops.h"
#include "optim/adamw.h"
#include "param/param.h"
#include "tensor/shard_layout.h"
#include "zero/placement.h"

namespace ds::zero {

// What all units of a store share. Everything outlives the units.
struct UnitContext {
  Placement placement;
  DType dtype;
  int rank, world;
  TaskPool& pool;
  const kernels::Ops& ops;
  device::MemoryAccount& account;
};

class Unit {
 public:
  enum class Weights { kSharded, kGathering, kFull };
  enum class Grad { kEmpty, kLocal, kQueued, kReduced };

  // Parameters start on multiples of this many elements.
  static constexpr int64_t kParamAlignment = 8;

  Unit(const UnitContext& context, std::string name) : context_(context), name_(std::move(name)) {}

  // Appends a parameter with its initial values (empty: zeros); returns its offset.
  int64_t Append(int64_t numel, bool decay, std::span<const float> init);
  // No more parameters: allocates the state and fills this rank's part of it.
  Status Place();
  bool placed() const { return placed_; }

  const std::string& name() const { return name_; }
  const ShardLayout& layout() const { return layout_; }
  int64_t elements() const { return elements_; }  // appended so far, gaps included
  int64_t full_bytes() const;                     // of one full array in the training dtype

  // Weights. The Gatherer moves the state; the pointers are of the training dtype.
  Weights weights = Weights::kSharded;
  int acquired = 0;
  device::Ticket gather_ticket = 0;
  device::Buffer gathered;  // window; empty unless kGathering or kFull under sharded weights
  const void* Full(int64_t offset) const;
  Status Gather(comm::Communicator& comm);

  // Gradients. The Reducer moves the state.
  Grad grad = Grad::kEmpty;
  int missing = 0;  // parameters whose gradients of this accumulation window are not all here
  device::Ticket reduce_ticket = 0;
  device::Buffer local_grads;  // window; empty unless kLocal, kQueued under sharded gradients
  void* LocalGrad(int64_t offset) const;
  void ZeroLocalGrad(int64_t offset, int64_t numel) const;
  // Means over ranks: multiplies the sum by `scale`.
  Status Reduce(comm::Communicator& comm, float scale);

  // The step, on this rank's slice (on every slice where the optimizer state is replicated).
  double SumOfSquares() const;
  void Update(const kernels::AdamScalars& decayed, const kernels::AdamScalars& undecayed);
  // Makes the weights of all ranks follow the updated slices, where weights are replicated.
  Status SpreadWeights(comm::Communicator& comm);

  // State for persistence. SyncRestored() completes what ForEachPiece's visitor filled in.
  Status ForEachPiece(const std::function<Status(const StatePiece&)>& visit);
  Status SyncRestored(comm::Communicator& comm);
  // The fp32 master weights [offset, offset + out.size()) of all ranks.
  Status ReadMaster(comm::Communicator& comm, int64_t offset, std::span<float> out);

 private:
  // A run of elements with one decay rule, without gaps or padding.
  struct Segment {
    int64_t begin, end;
    bool decay;
  };
  enum class Array { kMaster, kM, kV };

  std::byte* Weight(int64_t element) const;  // in the stored (full or own) weights
  std::byte* ReducedGrad(int64_t element) const;
  float* State(Array array, int64_t element) const;
  bool master_is_weights() const { return context_.dtype == DType::kF32; }
  template <typename Body>
  void ForEachSegmentIn(int rank, const Body& body) const;
  void UpdateSlice(int rank, const kernels::AdamScalars& decayed,
                   const kernels::AdamScalars& undecayed);
  Status AllGatherInPlace(comm::Communicator& comm, std::byte* full, int64_t element_bytes);

  const UnitContext& context_;
  const std::string name_;
  bool placed_ = false;
  int64_t elements_ = 0;
  std::vector<float> init_;  // until placed
  std::vector<Segment> segments_;
  ShardLayout layout_;

  // Full (padded) or this rank's shard, as the placement says.
  device::Buffer weights_, grads_;             // training dtype
  device::Buffer master_, moment1_, moment2_;  // fp32; no master where weights are fp32
};

}  // namespace ds::zero
