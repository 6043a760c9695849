#include "zero/sharded_store.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace ds::zero {

ShardedStore::ShardedStore(const StoreOptions& options, comm::Communicator& comm, RankGroups groups,
                           const device::Lane& lane, device::MemoryAccount& account,
                           kernels::Gemm& gemm)
    : options_(options),
      comm_(comm),
      groups_(std::move(groups)),
      gemm_(gemm),
      context_{.placement = PlacementOf(options.zero, comm.size()),
               .dtype = options.dtype,
               .groups = groups_,
               .lane = lane,
               .ops = kernels::BestOps(options.dtype),
               .account = account},
      windows_(account),
      slice_sums_(comm.size() + 1) {}

Result<std::unique_ptr<ShardedStore>> ShardedStore::Create(const StoreOptions& options,
                                                           comm::Communicator& comm,
                                                           const device::Lane& lane,
                                                           device::MemoryAccount& account,
                                                           kernels::Gemm& gemm) {
  // Communicators of their own: gathers follow the order of acquires, reductions that of units, and
  // neither waits for the other.
  const auto groups_of = [&](const char* what) -> Result<RankGroups> {
    DS_ASSIGN(auto own, comm.Duplicate(what));
    return RankGroups::Create(std::move(own), GroupSizeOf(options.zero, comm.size()));
  };
  DS_ASSIGN(RankGroups steps, groups_of("steps"));
  DS_ASSIGN(RankGroups gathers, groups_of("gathers"));
  DS_ASSIGN(RankGroups reductions, groups_of("reductions"));
  std::unique_ptr<ShardedStore> store(
      new ShardedStore(options, comm, std::move(steps), lane, account, gemm));
  const float scale = 1.0f / static_cast<float>(comm.size() * options.accumulation);
  const bool beside = options.zero.overlap_comm && comm.size() > 1;
  ZeroOptions zero = options.zero;
  zero.overlap_comm = beside;
  store->gatherer_ = std::make_unique<Gatherer>(zero, std::move(gathers), lane, store->windows_);
  store->reducer_ =
      std::make_unique<Reducer>(beside, scale, std::move(reductions), lane, store->windows_);
  return store;
}

// What is still under way names the streams and the units.
ShardedStore::~ShardedStore() { (void)context_.lane.Sync(); }

Status ShardedStore::Sticky(Status status) {
  if (!status.ok() && failure_.ok()) {
    failure_ = status;
    comm_.Abort(status);
  }
  return status;
}

Result<ShardedStore::Param*> ShardedStore::Check(ParamId id) {
  if (!failure_.ok()) return failure_;
  if (id < 0 || id >= param_count()) {
    return Error(Code::kNotFound, "parameter {}: {} are registered", id, param_count());
  }
  DS_TRY(Seal());
  return &params_[id];
}

Result<const void*> ShardedStore::Acquire(ParamId id) {
  DS_ASSIGN(Param * param, Check(id));
  Unit& unit = *units_[param->unit];
  if (context_.placement.shards_parameters()) {
    std::optional<PhaseTimer> timer;  // not where another parameter of the unit has waited
    if (unit.acquired == 0) timer.emplace(phases_.gather, TraceLane::kCompute, "wait for weights");
    DS_TRY(Sticky(gatherer_->Acquire(units_, param->unit)));
  } else {
    ++unit.acquired;
  }
  return unit.Full(param->offset);
}

Status ShardedStore::Release(ParamId id) {
  DS_ASSIGN(Param * param, Check(id));
  Unit& unit = *units_[param->unit];
  if (unit.acquired == 0) {
    return InvalidState("{}: released more often than acquired", param->spec.name);
  }
  if (context_.placement.shards_parameters()) {
    gatherer_->Release(param->unit, unit);
  } else {
    --unit.acquired;
  }
  return {};
}

Result<GradVerdict> ShardedStore::RunHooks(ParamId id, DType dtype, const void* data) {
  if (!hooks_.empty()) DS_TRY(Sticky(context_.lane.Sync()));
  for (const GradHook& hook : hooks_) {
    DS_ASSIGN(const GradVerdict verdict, hook({id, params_[id].spec, dtype, data, micro_step_}));
    if (verdict == GradVerdict::kSkip) return verdict;
  }
  return GradVerdict::kContinue;
}

Result<ShardedStore::Param*> ShardedStore::CheckTrainable(ParamId id) {
  DS_ASSIGN(Param * param, Check(id));
  if (!param->spec.trainable)
    return InvalidState("{}: is frozen, and takes no gradient", param->spec.name);
  return param;
}

// A gradient that never came, or that hooks skipped, counts as zero.
void ShardedStore::ZeroUnwritten(int unit) {
  for (const ParamId id : unit_params_[unit]) {
    const Param& param = params_[id];
    if (!param.written) units_[unit]->ZeroLocalGrad(param.offset, param.numel);
  }
}

Status ShardedStore::OpenGrad(Param& param) {
  if (param.last_micro_step == micro_step_) {
    return InvalidState("{}: a second gradient in micro-batch {}", param.spec.name, micro_step_);
  }
  Unit& unit = *units_[param.unit];
  if (unit.grad == Unit::Grad::kEmpty) {
    const PhaseTimer timer(phases_.reduce, TraceLane::kCompute, "wait for a window");
    DS_TRY(Sticky(reducer_->Open(unit, context_.placement.shards_gradients())));
  }
  ++gradients_;
  return {};
}

Status ShardedStore::CloseGrad(Param& param) {
  param.last_micro_step = micro_step_;
  if (++param.micro_batches < options_.accumulation) return {};
  Unit& unit = *units_[param.unit];
  if (--unit.missing > 0) return {};
  ZeroUnwritten(param.unit);
  const PhaseTimer timer(phases_.reduce, TraceLane::kCompute, "hand over gradients");
  return Sticky(reducer_->Queue(unit));
}

Status ShardedStore::AddGrad(ParamId id, DType dtype, const void* grad) {
  DS_ASSIGN(Param * param, CheckTrainable(id));
  if (dtype != DType::kF32 && dtype != options_.dtype) {
    const bool half = options_.dtype != DType::kF32;
    return InvalidArgument("{}: gradient is {}, the engine takes f32{}{}", param->spec.name,
                           DTypeName(dtype), half ? " or " : "",
                           half ? DTypeName(options_.dtype) : "");
  }
  if (param->open) return InvalidState("{}: between begin_grad and end_grad", param->spec.name);
  DS_TRY(OpenGrad(*param));
  DS_ASSIGN(const GradVerdict verdict, RunHooks(id, dtype, grad));
  if (verdict == GradVerdict::kContinue) {
    void* local = units_[param->unit]->LocalGrad(param->offset);
    if (param->written) {
      context_.ops.accumulate(context_.lane, param->numel, dtype, grad, local);
    } else if (dtype == DType::kF32) {
      context_.ops.from_float(context_.lane, param->numel, static_cast<const float*>(grad), local);
    } else {
      context_.lane.Copy(local, grad, param->numel * static_cast<int64_t>(DTypeBytes(dtype)));
    }
    param->written = true;
  }
  return CloseGrad(*param);
}

Result<GradView> ShardedStore::BeginGrad(ParamId id) {
  DS_ASSIGN(Param * param, CheckTrainable(id));
  if (!param->open) DS_TRY(OpenGrad(*param));
  const GradView view = {units_[param->unit]->LocalGrad(param->offset),
                         param->written || param->open};
  param->open = true;
  return view;
}

Status ShardedStore::EndGrad(ParamId id) {
  DS_ASSIGN(Param * param, Check(id));
  if (!param->open) return InvalidState("{}: end_grad without begin_grad", param->spec.name);
  DS_ASSIGN(const GradVerdict verdict,
            RunHooks(id, options_.dtype, units_[param->unit]->LocalGrad(param->offset)));
  param->open = false;
  param->written = true;
  DS_TRY(CloseGrad(*param));
  if (verdict == GradVerdict::kContinue) return {};
  // Told when the gradient is in the books: peers that wait for it get it, and the engine goes on.
  return Error(Code::kUnsupported,
               "{}: a hook skips a gradient that was written in place; it counts all the same",
               param->spec.name);
}

Status ShardedStore::EndMicroBatch() {
  if (!failure_.ok()) return failure_;
  DS_TRY(Seal());
  for (const Param& param : params_) {
    if (param.open) return InvalidState("{}: begin_grad without end_grad", param.spec.name);
    if (!options_.zero.ignore_unused_parameters && param.spec.trainable &&
        param.last_micro_step != micro_step_) {
      return InvalidState("{}: no gradient in micro-batch {}", param.spec.name, micro_step_);
    }
  }
  for (const auto& unit : units_) {
    if (unit->acquired > 0) {
      return InvalidState("{}: acquired {} times more than released at the end of a micro-batch",
                          unit->name(), unit->acquired);
    }
  }
  ++micro_step_;
  return {};
}

Status ShardedStore::FinishReduce() {
  const PhaseTimer timer(phases_.reduce, TraceLane::kStep, "wait for reductions");
  for (size_t u = units_.size(); u-- > 0;) {  // as they are reduced: few windows wait at a time
    Unit& unit = *units_[u];
    if (unit.missing == 0) continue;
    // Parameters that got fewer gradients than micro-batches: what came is summed, the rest is 0.
    if (unit.grad == Unit::Grad::kEmpty) {
      DS_TRY(Sticky(reducer_->Open(unit, context_.placement.shards_gradients())));
    }
    ZeroUnwritten(static_cast<int>(u));
    unit.missing = 0;
    DS_TRY(Sticky(reducer_->Queue(unit)));
  }
  return Sticky(reducer_->Finish());
}

Status ShardedStore::EndStep() {
  if (context_.placement.shards_parameters()) DS_TRY(Sticky(gatherer_->EndStep(units_)));
  reducer_->EndStep();
  micro_step_ = 0;
  for (const auto& unit : units_) unit->missing = 0;
  for (Param& param : params_) {
    if (param.spec.trainable) ++units_[param.unit]->missing;
    param.micro_batches = 0;
    param.last_micro_step = -1;
    param.written = false;
  }
  return {};
}

Status ShardedStore::EndEvaluation() {
  if (!failure_.ok()) return failure_;
  if (!context_.placement.shards_parameters()) return {};
  return Sticky(gatherer_->EndEvaluation(units_));
}

Status ShardedStore::ForEachPiece(const std::function<Status(const StatePiece&)>& visit) {
  if (!failure_.ok()) return failure_;
  DS_TRY(Seal());
  DS_TRY(Sticky(gatherer_->Settle(units_)));  // the visitor may write
  for (const auto& unit : units_) DS_TRY(unit->ForEachPiece(visit));
  return {};
}

Status ShardedStore::SyncRestored() {
  if (!failure_.ok()) return failure_;
  DS_TRY(Seal());
  for (const auto& unit : units_) {
    if (unit->acquired > 0) {
      return InvalidState("{}: restored while it is acquired", unit->name());
    }
    if (unit->grad != Unit::Grad::kEmpty) {
      return InvalidState("{}: restored with gradients that were not stepped", unit->name());
    }
  }
  for (const auto& unit : units_) DS_TRY(Sticky(unit->SyncRestored()));
  return EndStep();
}

Status ShardedStore::ReadMaster(ParamId id, std::span<float> out) {
  DS_ASSIGN(Param * param, Check(id));
  if (static_cast<int64_t>(out.size()) != param->numel) {
    return InvalidArgument("{}: {} values asked for, {} registered", param->spec.name, out.size(),
                           param->numel);
  }
  return Sticky(units_[param->unit]->ReadMaster(param->offset, out));
}

}  // namespace ds::zero
