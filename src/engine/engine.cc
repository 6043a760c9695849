#include "engine/engine.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/log.h"
#include "engine/assembly.h"
#include "optim/clip.h"
#include "optim/rules.h"
#include "zero/agreement.h"

namespace ds {

Engine::Engine(const EngineConfig& config, comm::Communicator& comm, TaskPool& pool,
               device::Device* device)
    : config_(config),
      comm_(comm, traffic_),
      lane_(pool, device == nullptr ? nullptr : &device->queue()),
      gemm_(CreateGemm()),
      verdicts_(comm.size()) {
  memory_.set_heap(comm.heap());
  memory_.set_device(device);
}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config, comm::Communicator& comm,
                                               TaskPool& pool, device::Device* device) {
  DS_TRY(CheckEnvironment());
  EngineConfig shared = config;
  shared.steps_per_print = 0;  // a rank's own
  DS_TRY(zero::AgreeOnConfig(comm, shared.ToJson()));
  std::unique_ptr<Engine> engine(new Engine(config, comm, pool, device));
  if (config.monitor.enabled()) DS_TRY(engine->CreateMonitor());
  DS_ASSIGN(engine->store_,
            zero::ShardedStore::Create(
                {.zero = config.zero, .dtype = config.dtype, .accumulation = config.accumulation},
                engine->comm_, engine->lane_, engine->memory_, *engine->gemm_));
  DS_ASSIGN(auto rule, optim::CreateRule(config.optimizer));
  DS_TRY(engine->store_->AddGroup(std::move(rule), "the config").status());
  if (config.dtype == DType::kF16) {
    DS_ASSIGN(engine->scaler_, optim::LossScaler::Create(config.loss_scale));
  }
  return engine;
}

// One rank writes, and all of them know whether it can.
Status Engine::CreateMonitor() {
  Status status;
  if (comm_.rank() == 0) {
    auto made = Monitor::Create(config_.monitor);
    made.ok() ? void(monitor_ = std::move(made).Take()) : void(status = made.status());
  }
  double failed = status.ok() ? 0 : 1;
  DS_TRY(comm_.AllReduce("monitor", {&failed, 1}));
  if (failed == 0) return status;
  // The reason too: whichever rank is heard first says what is wrong.
  std::array<char, 512> why = {};
  status.message().copy(why.data(), why.size() - 1);
  DS_TRY(comm_.Broadcast("monitor", 0, std::as_writable_bytes(std::span(why))));
  return status.ok() ? Error(Code::kIo, "{}", why.data()) : status;
}

// The loss is the caller's to write, who knows it.
void Engine::WriteMonitor(const StepInfo& info) {
  const Scalar all[] = {{"Train/Samples/lr", info.lr},
                        {"Train/Samples/grad_norm", info.grad_norm},
                        {"Train/Samples/loss_scale", info.loss_scale}};
  monitor_->Write(samples(), std::span(all).first(scaler_.has_value() ? 3 : 2));
}

Result<int> Engine::AddGroup(std::string_view params_json) {
  DS_ASSIGN(const Json own, ParseJson(params_json, "group"));
  if (!own.is_object()) {
    return Error(Code::kConfig, "group: the text is {}, not an object", JsonTypeName(own));
  }
  Json section = config_.optimizer;
  section["params"].update(own);
  DS_ASSIGN(auto rule, optim::CreateRule(section));
  return store_->AddGroup(std::move(rule), section["params"].dump());
}

Status Engine::Seal() { return store_->Seal(); }

double Engine::lr() const {
  return optim::LearningRateOfStep(config_.schedule, store_->rule(0).lr(), step_);
}

EngineStats Engine::stats() const {
  return {step_, skipped_, loss_scale(), last_norm_, store_->phases()};
}

Result<StepInfo> Engine::Step() {
  StepInfo info;
  info.step = step_;
  DS_TRY(store_->EndMicroBatch());
  if (++micro_step_ < config_.accumulation) return info;
  micro_step_ = 0;
  DS_TRY(StepBoundary(info));
  const int64_t boundaries = step_ + skipped_, each = config_.steps_per_print;
  if (each > 0 && boundaries % each == 0 && comm_.rank() == 0) {
    Log(LogLevel::kInfo, "engine", "step={}, skipped={}, lr={:g}, grad_norm={:g}", step_, skipped_,
        info.lr, info.grad_norm);
  }
  return info;
}

Status Engine::StepBoundary(StepInfo& info) {
  DS_TRY(store_->FinishReduce());
  DS_ASSIGN(const auto norm, store_->GradNorm(!step_hooks_.empty()));
  info.loss_scale = loss_scale();
  info.grad_norm = last_norm_ = norm.norm / info.loss_scale;
  info.lr = lr();
  // Every rank sees the same norm, so all skip or none. fp32 has no key for it, and no use for a
  // step that would make every weight NaN.
  const bool checks = config_.dtype != DType::kBF16 || config_.check_grad_overflow;
  const bool overflow = optim::IsInvalidNorm(norm.norm);
  info.skipped = checks && overflow;
  StepVerdict verdict = StepVerdict::kContinue;
  Status ended;
  if (norm.flagged) {  // on every rank alike, whoever has a hook
    auto said = RunStepHooks(info);
    if (!store_->failure().ok()) return store_->failure();
    said.ok() ? void(verdict = *said) : void(ended = said.status());
  }
  if (ended.ok() && scaler_.has_value()) ended = scaler_->Update(overflow);
  if (!ended.ok()) {  // alike on all ranks: the gradients are dropped, and the engine goes on
    DS_TRY(store_->EndStep());
    return ended;
  }
  info.skipped = info.skipped || verdict == StepVerdict::kSkip;
  if (info.skipped) {
    ++skipped_;
  } else {
    const double factor =
        optim::UnscaleAndClipFactor(norm.norm, config_.gradient_clipping, info.loss_scale);
    info.clip_factor = factor * info.loss_scale;
    DS_TRY(Apply(factor));
    info.applied = true;
    info.step = ++step_;
  }
  if (monitor_ != nullptr) WriteMonitor(info);
  return store_->EndStep();
}

// Every rank hears what every other said, so that none goes on alone.
Result<StepVerdict> Engine::RunStepHooks(const StepInfo& info) {
  StepVerdict mine = StepVerdict::kContinue;
  Status failed;
  for (const StepHook& hook : step_hooks_) {
    auto said = hook(info);
    if (!said.ok()) failed = said.status();
    mine = said.ok() ? std::max(mine, *said) : StepVerdict::kAbort;
    if (mine == StepVerdict::kAbort) break;
  }
  std::fill(verdicts_.begin(), verdicts_.end(), 0.0);
  verdicts_[comm_.rank()] = static_cast<double>(mine);
  DS_TRY(store_->AllReduce("step hooks", verdicts_));
  const auto worst = std::max_element(verdicts_.begin(), verdicts_.end());
  const auto verdict = static_cast<StepVerdict>(static_cast<int>(*worst));
  if (verdict != StepVerdict::kAbort) return verdict;
  if (!failed.ok()) return failed;
  return Error(Code::kCallback, "step {}: a step hook of rank {} aborted", info.step,
               worst - verdicts_.begin());
}

Status Engine::Apply(double grad_scale) {
  const auto momentum = optim::MomentumOfStep(config_.schedule, step_);
  return store_->Update([&](const optim::UpdateRule& rule) {
    optim::StepScalars scalars = {
        .step = step_ + 1,
        .lr = optim::LearningRateOfStep(config_.schedule, rule.lr(), step_),
        .grad_scale = grad_scale};
    if (momentum) scalars.betas = optim::Betas{*momentum, optim::kCycledBeta2};
    return scalars;
  });
}

Engine::Counters Engine::counters() const {
  Counters counters = {step_, skipped_};
  if (scaler_.has_value()) counters.loss_scale = scaler_->state();
  return counters;
}

Status Engine::Restore(const Counters& counters) {
  if (micro_step_ != 0) {
    return InvalidState("restore after {} of {} micro-batches", micro_step_, config_.accumulation);
  }
  if (scaler_.has_value() && counters.loss_scale) DS_TRY(scaler_->SetState(*counters.loss_scale));
  DS_TRY(store_->SyncRestored());
  step_ = counters.step;
  skipped_ = counters.skipped;
  return {};
}

}  // namespace ds
