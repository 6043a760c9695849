// The parameters of one rank's engine: registered, then kept, gathered, reduced and stepped as the
// placement says. The order of calls within a step is the engine's; the arithmetic is the units'.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/task_pool.h"
#include "comm/communicator.h"
#include "param/param.h"
#include "zero/agreement.h"
#include "zero/gatherer.h"
#include "zero/placement.h"
#include "zero/reducer.h"
#include "zero/unit.h"
#include "zero/window_pool.h"

namespace ds::zero {

struct StoreOptions {
  ZeroOptions zero;
  DType dtype = DType::kF32;
  int64_t accumulation = 1;  // micro-batches in an accumulation window
};

// A gradient that was handed over, as its hooks see it.
struct GradArrival {
  ParamId id;
  const ParamSpec& spec;
  DType dtype;
  const void* data;
  int64_t micro_step;
};
enum class GradVerdict { kContinue, kSkip };
using GradHook = std::function<Result<GradVerdict>(const GradArrival&)>;

class ShardedStore final : public ParamStore, public StateSource {
 public:
  // `comm`, `pool`, `account` outlive the store. Collective.
  static Result<std::unique_ptr<ShardedStore>> Create(const StoreOptions& options,
                                                      comm::Communicator& comm, TaskPool& pool,
                                                      device::MemoryAccount& account);
  ~ShardedStore() override;

  // ParamStore
  DType dtype() const override { return options_.dtype; }
  Result<ParamId> Register(ParamSpec spec, std::span<const float> init) override;
  Result<const void*> Acquire(ParamId id) override;
  Status Release(ParamId id) override;
  Status AddGrad(ParamId id, DType dtype, const void* grad) override;
  Result<GradView> BeginGrad(ParamId id) override;
  Status EndGrad(ParamId id) override;

  // Loses the store for a reason that its caller found: each later call returns it.
  void Fail(const Status& why) { (void)Sticky(why); }
  void AddGradHook(GradHook hook) { hooks_.push_back(std::move(hook)); }
  Status Seal();
  int param_count() const { return static_cast<int>(params_.size()); }
  const ParamSpec& spec(ParamId id) const { return params_[id].spec; }
  Result<ParamId> Find(const std::string& name) const;
  int64_t numel() const;  // of all parameters
  // The placement in force: that of stage 0 in a world of one.
  const Placement& placement() const { return context_.placement; }

  // The step, in this order. Collective.
  Status EndMicroBatch();     // every micro-batch
  Status FinishReduce();      // at the boundary: all gradients are reduced
  Result<double> GradNorm();  // L2, over all ranks
  Status Update(const kernels::AdamScalars& decayed, const kernels::AdamScalars& undecayed);
  Status EndStep();  // gradients are empty; gathered copies are stale
  // After acquires that belong to no step (evaluation, saving), with nothing acquired: gathered
  // copies are dropped, and the order foretold for the next step is still that of the last step.
  Status EndEvaluation();

  // Collective. Pieces are of this rank's slices; SyncRestored() after they were written.
  Status ForEachPiece(const std::function<Status(const StatePiece&)>& visit) override;
  Status SyncRestored();
  Status ReadMaster(ParamId id, std::span<float> out);

  // The failure of a collective, kept for every later call and told to the peers.
  const Status& failure() const { return failure_; }

 private:
  struct Param {
    ParamSpec spec;
    int unit;
    int64_t offset, numel;
    int64_t micro_batches = 0;  // with a gradient, in this accumulation window
    int64_t last_micro_step = -1;
    bool written = false;  // its buffer holds a gradient of this window
    bool open = false;     // between BeginGrad and EndGrad
  };

  ShardedStore(const StoreOptions& options, comm::Communicator& comm, TaskPool& pool,
               device::MemoryAccount& account);
  Result<Param*> Check(ParamId id);  // also seals, and returns the sticky failure
  Status CheckSpec(const ParamSpec& spec, std::span<const float> init) const;
  Result<int> UnitFor(const ParamSpec& spec);
  Status PlaceLastUnit();
  Declaration Declare(const ParamSpec& spec, std::span<const float> init) const;
  std::span<Param> ParamsOf(int unit);
  void ZeroUnwritten(int unit);
  Status OpenGrad(Param& param);
  Status CloseGrad(Param& param);
  Result<GradVerdict> RunHooks(ParamId id, DType dtype, const void* data);
  Status Sticky(Status status);

  const StoreOptions options_;
  comm::Communicator& comm_;
  UnitContext context_;
  bool sealed_ = false;
  Status failure_;
  int64_t micro_step_ = 0;

  WindowPool windows_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::vector<Param> params_;
  std::vector<ParamId> unit_begin_;  // first parameter of each unit; a unit's follow one another
  std::unordered_map<std::string, ParamId> by_name_;
  std::unordered_map<std::string, int> unit_by_name_;
  std::vector<Declaration> declarations_;  // until sealed
  std::vector<GradHook> hooks_;

  std::unique_ptr<Gatherer> gatherer_;  // destroyed first: their streams use the units
  std::unique_ptr<Reducer> reducer_;
};

}  // namespace ds::zero
