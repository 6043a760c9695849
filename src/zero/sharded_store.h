// The parameters of one rank's engine: registered, then kept, gathered, reduced and stepped as the
// placement says. The order of calls within a step is the engine's; the arithmetic is the units'.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/function_ref.h"
#include "comm/communicator.h"
#include "device/lane.h"
#include "param/param.h"
#include "zero/agreement.h"
#include "zero/gatherer.h"
#include "zero/phase_seconds.h"
#include "zero/placement.h"
#include "zero/rank_groups.h"
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
  // `comm`, `account`, `gemm` and what the lane stands for outlive the store; `gemm` is for rules
  // of whole matrices. The memory of the account is that of the lane's device, and so are weights
  // and gradients. Parameters need at least one group (AddGroup). Collective.
  static Result<std::unique_ptr<ShardedStore>> Create(const StoreOptions& options,
                                                      comm::Communicator& comm,
                                                      const device::Lane& lane,
                                                      device::MemoryAccount& account,
                                                      kernels::Gemm& gemm);
  ~ShardedStore() override;

  // ParamStore
  DType dtype() const override { return options_.dtype; }
  void DeclareSettings(std::string_view lines) override;
  Result<ParamId> Register(ParamSpec spec, ParamValues values) override;
  Result<const void*> Acquire(ParamId id) override;
  Status Release(ParamId id) override;
  Status AddGrad(ParamId id, DType dtype, const void* grad) override;
  Result<GradView> BeginGrad(ParamId id) override;
  Status EndGrad(ParamId id) override;
  // Gradients that were ever begun: who fails midway in handing some over learns whether one is
  // there.
  int64_t gradients() const { return gradients_; }

  // The rule of parameters registered with this group; groups count from 0. `text` tells the
  // hyper-parameters: compared over the ranks.
  Result<int> AddGroup(std::unique_ptr<optim::UpdateRule> rule, std::string_view text);
  int group_count() const { return static_cast<int>(rules_.size()); }
  const optim::UpdateRule& rule(int group) const { return *rules_[group]; }

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
  Status EndMicroBatch();  // every micro-batch
  Status FinishReduce();   // at the boundary: all gradients are reduced
  // The L2 norm over all ranks; and whether `flag` was set by any of them.
  struct Norm {
    double norm;
    bool flagged;
  };
  Result<Norm> GradNorm(bool flag);
  Status AllReduce(const char* what, std::span<double> values);  // sums in the order of ranks
  // `scalars` of each rule; `decay` in them is set here.
  using ScalarsOf = FunctionRef<optim::StepScalars(const optim::UpdateRule&)>;
  Status Update(ScalarsOf scalars);
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
  const PhaseSeconds& phases() const { return phases_; }

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

  ShardedStore(const StoreOptions& options, comm::Communicator& comm, RankGroups groups,
               const device::Lane& lane, device::MemoryAccount& account, kernels::Gemm& gemm);
  Result<Param*> Check(ParamId id);  // also seals, and returns the sticky failure
  Status CheckSpec(const ParamSpec& spec, const ParamValues& values) const;
  const optim::UpdateRule* RuleFor(const ParamSpec& spec) const;
  std::string NameFor(const ParamSpec& spec, const optim::UpdateRule* rule) const;
  Result<int> UnitFor(const ParamSpec& spec);
  Status PlaceOpenUnits();
  Declaration Declare(const ParamSpec& spec, const ParamValues& values) const;
  Result<Param*> CheckTrainable(ParamId id);
  void ZeroUnwritten(int unit);
  Status OpenGrad(Param& param);
  Status CloseGrad(Param& param);
  Status ReserveForStep();
  Status AddNorms(ScalarsOf scalars);
  Status UpdateMatrices(Unit& unit, const optim::StepScalars& scalars);
  Result<GradVerdict> RunHooks(ParamId id, DType dtype, const void* data);
  Status Sticky(Status status);

  const StoreOptions options_;
  comm::Communicator& comm_;
  const RankGroups groups_;
  kernels::Gemm& gemm_;
  UnitContext context_;
  bool sealed_ = false;
  Status failure_;
  int64_t micro_step_ = 0;
  int64_t gradients_ = 0;

  WindowPool windows_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::deque<Param> params_;  // names and shapes are lent: addresses stay
  std::vector<std::vector<ParamId>> unit_params_;
  std::unordered_map<std::string, ParamId> by_name_;
  std::unordered_set<std::string> unit_names_;
  std::unordered_set<std::string> user_units_;             // of ParamSpec::unit, begun
  std::vector<std::unique_ptr<optim::UpdateRule>> rules_;  // one a group
  // Units of the ParamSpec::unit that is being registered: one a rule, and one of frozen ones.
  std::vector<int> open_units_;
  std::string open_unit_;
  std::vector<Declaration> declarations_, group_declarations_, model_settings_;  // until sealed
  std::vector<GradHook> hooks_;
  PhaseSeconds phases_;
  std::vector<double> slice_sums_;       // of the norm: one a slice, and the flag
  std::vector<double> squares_;          // of the runs of this rank's slices of all units
  std::vector<optim::ParamSums> norms_;  // of the runs of all units whose rule asks for norms
  device::Buffer device_squares_, device_norms_, matrix_scratch_;

  std::unique_ptr<Gatherer> gatherer_;  // destroyed first: their streams use the units
  std::unique_ptr<Reducer> reducer_;
};

}  // namespace ds::zero
