#include "engine/engine.h"

#include <cmath>

#include "base/log.h"
#include "zero/agreement.h"

namespace ds {
namespace {

// DeepSpeed's rule (deepspeed/runtime/zero/stage3.py, unscale_and_clip_grads): gradients are
// divided by max(1, (norm + 1e-6) / limit).
double ClipFactor(double norm, double limit) {
  if (limit <= 0) return 1.0;
  return 1.0 / std::max(1.0, (norm + 1e-6) / limit);
}

}  // namespace

Engine::Engine(const EngineConfig& config, comm::Communicator& comm, TaskPool& pool)
    : config_(config), comm_(comm), pool_(pool) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config, comm::Communicator& comm,
                                               TaskPool& pool) {
  EngineConfig shared = config;
  shared.steps_per_print = 0;  // a rank's own
  DS_TRY(zero::AgreeOnConfig(comm, shared.ToJson()));
  std::unique_ptr<Engine> engine(new Engine(config, comm, pool));
  DS_ASSIGN(engine->store_,
            zero::ShardedStore::Create(
                {.zero = config.zero, .dtype = config.dtype, .accumulation = config.accumulation},
                comm, pool, engine->memory_));
  return engine;
}

Status Engine::Seal() { return store_->Seal(); }

double Engine::lr() const {
  return optim::LearningRateOfStep(config_.schedule, config_.optimizer.lr, step_);
}

Result<StepInfo> Engine::Step() {
  StepInfo info;
  info.step = step_;
  DS_TRY(store_->EndMicroBatch());
  if (++micro_step_ < config_.accumulation) return info;
  micro_step_ = 0;
  DS_TRY(StepBoundary(info));
  if (config_.steps_per_print > 0 && step_ % config_.steps_per_print == 0 && comm_.rank() == 0) {
    Log(LogLevel::kInfo, "engine", "step={}, skipped={}, lr={:g}, grad_norm={:g}", step_, skipped_,
        info.lr, info.grad_norm);
  }
  return info;
}

Status Engine::StepBoundary(StepInfo& info) {
  DS_TRY(store_->FinishReduce());
  DS_ASSIGN(info.grad_norm, store_->GradNorm());
  info.lr = lr();
  // Every rank sees the same norm, so all skip or none. fp32 has no key for it, and no use for a
  // step that would make every weight NaN.
  const bool checks = config_.dtype == DType::kF32 || config_.check_grad_overflow;
  info.skipped = checks && !std::isfinite(info.grad_norm);
  if (info.skipped) {
    ++skipped_;
  } else {
    info.clip_factor = ClipFactor(info.grad_norm, config_.gradient_clipping);
    const auto scalars = [&](bool decay) {
      return optim::AdamScalarsFor(config_.optimizer, step_ + 1, info.lr, info.clip_factor, decay);
    };
    DS_TRY(store_->Update(scalars(true), scalars(false)));
    info.applied = true;
    info.step = ++step_;
  }
  return store_->EndStep();
}

Status Engine::Restore(const Counters& counters) {
  if (micro_step_ != 0) {
    return InvalidState("restore after {} of {} micro-batches", micro_step_, config_.accumulation);
  }
  DS_TRY(store_->SyncRestored());
  step_ = counters.step;
  skipped_ = counters.skipped;
  return {};
}

}  // namespace ds
