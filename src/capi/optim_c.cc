#include <deepspeed/ds_optim.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "base/host.h"
#include "capi/guard.h"
#include "engine/assembly.h"
#include "optim/clip.h"
#include "optim/loss_scale.h"
#include "optim/rules.h"
#include "optim/schedule_params.h"

using ds::DType;
using ds::InvalidArgument;
using ds::Json;
using ds::Status;
using ds::capi::Guard;
using ds::optim::UpdateRule;

struct ds_optim : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_optim";
  std::unique_ptr<UpdateRule> rule;
  std::unique_ptr<ds::TaskPool> pool;
  std::unique_ptr<ds::kernels::Gemm> gemm;  // only where matrices need it
  std::optional<ds::optim::Betas> betas;
  // Grow to the largest span that was stepped.
  std::vector<float> direction, scratch;
  std::vector<ds::BF16> rounded;  // bf16 weights that nobody wants

  const UpdateRule& RuleFor(bool is_matrix) const { return is_matrix ? *rule : rule->other(); }
};

struct ds_lr_schedule : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_lr_schedule";
  ds::optim::ScheduleOptions options;
  double base_lr;
};

struct ds_loss_scaler : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_loss_scaler";
  ds::optim::LossScaler scaler;
};

namespace {

constexpr int64_t kMostElements = int64_t{1} << 44;  // more fit into no address space

Status CheckDType(const char* name, ds_dtype dtype) {
  if (dtype == DS_DTYPE_F32 || dtype == DS_DTYPE_BF16) return {};
  return InvalidArgument("{} is {}, not f32 ({}) or bf16 ({})", name, static_cast<int>(dtype),
                         static_cast<int>(DS_DTYPE_F32), static_cast<int>(DS_DTYPE_BF16));
}

Status CheckFinite(const char* name, double value) {
  if (std::isfinite(value)) return {};
  return InvalidArgument("{} is {}", name, value);
}

Status CheckMatrix(const ds_optim_span& span) {
  if (span.rows == 0 && span.columns == 0) return {};
  if (span.rows < 1 || span.columns < 1 || span.rows > span.numel ||
      span.columns > span.numel / span.rows || span.numel % (span.rows * span.columns) != 0) {
    return InvalidArgument("span.rows x span.columns is {} x {}, which does not divide numel {}",
                           span.rows, span.columns, span.numel);
  }
  return {};
}

Status CheckSpan(const ds_optim_span& span, const UpdateRule& rule) {
  if (span.numel < 0 || span.numel > kMostElements) {
    return InvalidArgument("span.numel is {}, not in 0..{}", span.numel, kMostElements);
  }
  DS_TRY(CheckDType("span.grad_dtype", span.grad_dtype));
  DS_TRY(CheckMatrix(span));
  if (span.params == nullptr) return InvalidArgument("span.params is NULL");
  if (span.grads == nullptr) return InvalidArgument("span.grads is NULL");
  const auto names = rule.state_names();
  for (size_t i = 0; i < names.size(); ++i) {
    if (span.states == nullptr || span.states[i] == nullptr) {
      return InvalidArgument("span.states[{}] ({}) is NULL; {} has {} of them", i, names[i],
                             rule.name(), names.size());
    }
  }
  return {};
}

template <typename T>
void GrowTo(std::vector<T>& buffer, int64_t n) {
  if (static_cast<int64_t>(buffer.size()) < n) buffer.resize(n);
}

Status Step(ds_optim& optim, const ds_optim_span& span, ds::optim::StepScalars scalars) {
  const bool is_matrix = span.rows != 0;
  const UpdateRule& rule = optim.RuleFor(is_matrix);
  DS_TRY(CheckSpan(span, rule));
  const auto dtype = static_cast<DType>(span.grad_dtype);
  const ds::optim::Tools tools = {ds::kernels::BestOps(dtype), *optim.pool, optim.gemm.get()};
  ds::optim::UpdateSpan update = {.n = span.numel,
                                  .grad = span.grads,
                                  .master = span.params,
                                  .states = {},
                                  .weights = span.params};
  for (size_t i = 0; i < rule.state_names().size(); ++i) update.states[i] = span.states[i];
  if (dtype == DType::kBF16) {
    update.weights = span.bf16_params;
    if (update.weights == nullptr) {
      GrowTo(optim.rounded, span.numel);
      update.weights = optim.rounded.data();
    }
  }
  if (rule.scope() == UpdateRule::Scope::kMatrix) {
    GrowTo(optim.direction, span.numel);
    GrowTo(optim.scratch, rule.scratch_floats(span.rows, span.columns));
    update.direction = optim.direction.data();
  }
  scalars.decay = span.no_decay == 0;
  scalars.betas = optim.betas;
  DS_TRY(ds::optim::UpdateWhole(rule, tools, scalars, update, span.rows, span.columns,
                                optim.scratch.data()));
  if (dtype == DType::kF32 && span.bf16_params != nullptr) {
    ds::kernels::BestOps(DType::kBF16)
        .from_float(*optim.pool, span.numel, span.params, span.bf16_params);
  }
  return {};
}

ds::Result<double> SumOfSquares(ds_optim* optim, ds_dtype dtype, const void* values,
                                int64_t numel) {
  DS_OPTIONAL(optim);
  if (numel != 0) DS_REQUIRE(values);
  DS_TRY(CheckDType("dtype", dtype));
  if (numel < 0 || numel > kMostElements) {
    return InvalidArgument("numel is {}, not in 0..{}", numel, kMostElements);
  }
  const auto& ops = ds::kernels::BestOps(static_cast<DType>(dtype));
  if (optim != nullptr) return ds::kernels::SumOfSquares(ops, *optim->pool, numel, values);
  ds::TaskPool alone(1);
  return ds::kernels::SumOfSquares(ops, alone, numel, values);
}

}  // namespace

extern "C" {

ds_status ds_optim_create(const ds_optim_options* options, ds_optim** out_optim) {
  return Guard([&]() -> Status {
    DS_REQUIRE(options);
    DS_REQUIRE(out_optim);
    ds_optim_options known = DS_OPTIM_OPTIONS_INIT;
    DS_TRY(ds::capi::ReadStruct("options", options, known));
    if (known.config_json == nullptr) return InvalidArgument("options.config_json is NULL");
    if (known.threads < 0 || known.threads > 4096) {
      return InvalidArgument("options.threads is {}, not in 0..4096", known.threads);
    }
    DS_ASSIGN(const Json json, ds::ParseJson(known.config_json, "optimizer"));
    DS_TRY(ds::CheckEnvironment());
    auto optim = ds::capi::MakeHandle<ds_optim>();
    DS_ASSIGN(optim->rule, ds::optim::CreateRule(json));
    optim->pool =
        std::make_unique<ds::TaskPool>(known.threads != 0 ? known.threads : ds::UsableCores());
    if (optim->rule->scope() == UpdateRule::Scope::kMatrix) optim->gemm = ds::CreateGemm();
    *out_optim = optim.release();
    return {};
  });
}

void ds_optim_destroy(ds_optim* optim) { ds::capi::Destroy(__func__, optim); }

ds_status ds_optim_get_lr(const ds_optim* optim, int32_t is_matrix, double* out_lr) {
  return Guard([&]() -> Status {
    DS_REQUIRE(optim);
    DS_REQUIRE(out_lr);
    *out_lr = optim->RuleFor(is_matrix != 0).lr();
    return {};
  });
}

ds_status ds_optim_get_state_count(const ds_optim* optim, int32_t is_matrix, int32_t* out_count) {
  return Guard([&]() -> Status {
    DS_REQUIRE(optim);
    DS_REQUIRE(out_count);
    *out_count = static_cast<int32_t>(optim->RuleFor(is_matrix != 0).state_names().size());
    return {};
  });
}

ds_status ds_optim_get_state_name(const ds_optim* optim, int32_t is_matrix, int32_t index,
                                  const char** out_name) {
  return Guard([&]() -> Status {
    DS_REQUIRE(optim);
    DS_REQUIRE(out_name);
    const auto names = optim->RuleFor(is_matrix != 0).state_names();
    if (index < 0 || index >= static_cast<int32_t>(names.size())) {
      return InvalidArgument("index is {}; there are {} state arrays", index, names.size());
    }
    *out_name = names[index];
    return {};
  });
}

ds_status ds_optim_step(ds_optim* optim, const ds_optim_span* span, int64_t step, double lr,
                        double grad_scale) {
  return Guard([&]() -> Status {
    DS_REQUIRE(optim);
    DS_REQUIRE(span);
    ds_optim_span known = DS_OPTIM_SPAN_INIT;
    DS_TRY(ds::capi::ReadStruct("span", span, known));
    if (known.grad_dtype == static_cast<ds_dtype>(0)) known.grad_dtype = DS_DTYPE_F32;
    if (step < 1) return InvalidArgument("step is {}; the first is 1", step);
    DS_TRY(CheckFinite("lr", lr));
    DS_TRY(CheckFinite("grad_scale", grad_scale));
    return Step(*optim, known, {.step = step, .lr = lr, .grad_scale = grad_scale});
  });
}

ds_status ds_optim_set_betas(ds_optim* optim, double beta1, double beta2) {
  return Guard([&]() -> Status {
    DS_REQUIRE(optim);
    const auto valid = [](double beta) { return beta >= 0 && beta < 1; };
    if (!valid(beta1) || !valid(beta2)) {
      return InvalidArgument("betas are {:g} and {:g}, not in [0, 1)", beta1, beta2);
    }
    optim->betas = {beta1, beta2};
    return {};
  });
}

ds_status ds_optim_get_sum_of_squares(ds_optim* optim, ds_dtype dtype, const void* values,
                                      int64_t numel, double* out_sum) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_sum);
    DS_ASSIGN(*out_sum, SumOfSquares(optim, dtype, values, numel));
    return {};
  });
}

ds_status ds_optim_get_norm(ds_optim* optim, ds_dtype dtype, const void* values, int64_t numel,
                            double* out_norm) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_norm);
    DS_ASSIGN(const double sum, SumOfSquares(optim, dtype, values, numel));
    *out_norm = std::sqrt(sum);
    return {};
  });
}

ds_status ds_clip_get_factor(double norm, double max_norm, double loss_scale, double* out_factor) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_factor);
    if (ds::optim::IsInvalidNorm(norm)) return InvalidArgument("norm is {}: skip the step", norm);
    if (!(max_norm >= 0)) return InvalidArgument("max_norm is {:g}, less than 0", max_norm);
    if (!(loss_scale > 0) || !std::isfinite(loss_scale)) {
      return InvalidArgument("loss_scale is {:g}, not positive and finite", loss_scale);
    }
    *out_factor = ds::optim::UnscaleAndClipFactor(norm, max_norm, loss_scale);
    return {};
  });
}

ds_status ds_lr_schedule_create(const char* config_json, double base_lr,
                                ds_lr_schedule** out_schedule) {
  return Guard([&]() -> Status {
    DS_REQUIRE(config_json);
    DS_REQUIRE(out_schedule);
    DS_TRY(CheckFinite("base_lr", base_lr));
    DS_ASSIGN(const Json json, ds::ParseJson(config_json, "scheduler"));
    DS_ASSIGN(const auto options, ds::optim::ReadSchedule(json));
    *out_schedule = ds::capi::MakeHandle<ds_lr_schedule>(options, base_lr).release();
    return {};
  });
}

void ds_lr_schedule_destroy(ds_lr_schedule* schedule) { ds::capi::Destroy(__func__, schedule); }

ds_status ds_lr_schedule_get_lr(const ds_lr_schedule* schedule, int64_t applied, double* out_lr) {
  return Guard([&]() -> Status {
    DS_REQUIRE(schedule);
    DS_REQUIRE(out_lr);
    if (applied < 0) return InvalidArgument("applied is {}, less than 0", applied);
    *out_lr = ds::optim::LearningRateOfStep(schedule->options, schedule->base_lr, applied);
    return {};
  });
}

ds_status ds_lr_schedule_get_betas(const ds_lr_schedule* schedule, int64_t applied,
                                   int32_t* out_cycles, double* out_beta1, double* out_beta2) {
  return Guard([&]() -> Status {
    DS_REQUIRE(schedule);
    DS_REQUIRE(out_cycles);
    DS_REQUIRE(out_beta1);
    DS_REQUIRE(out_beta2);
    if (applied < 0) return InvalidArgument("applied is {}, less than 0", applied);
    const auto momentum = ds::optim::MomentumOfStep(schedule->options, applied);
    *out_cycles = momentum.has_value() ? 1 : 0;
    *out_beta1 = momentum.value_or(0.0);
    *out_beta2 = momentum.has_value() ? ds::optim::kCycledBeta2 : 0.0;
    return {};
  });
}

ds_status ds_loss_scaler_create(const ds_loss_scaler_options* options,
                                ds_loss_scaler** out_scaler) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_scaler);
    ds_loss_scaler_options known = DS_LOSS_SCALER_OPTIONS_INIT;
    if (options != nullptr) DS_TRY(ds::capi::ReadStruct("options", options, known));
    ds::optim::LossScaleOptions o;
    o.dynamic = known.is_static == 0;
    o.consecutive_hysteresis = known.consecutive_hysteresis != 0;
    o.fails_at_min = known.stays_at_min == 0;
    if (known.init_scale != 0) o.init_scale = known.init_scale;
    if (known.factor != 0) o.factor = known.factor;
    if (known.min_scale != 0) o.min_scale = known.min_scale;
    if (known.window != 0) o.window = known.window;
    if (known.hysteresis != 0) o.hysteresis = known.hysteresis;
    DS_ASSIGN(const auto scaler, ds::optim::LossScaler::Create(o));
    *out_scaler = ds::capi::MakeHandle<ds_loss_scaler>(scaler).release();
    return {};
  });
}

void ds_loss_scaler_destroy(ds_loss_scaler* scaler) { ds::capi::Destroy(__func__, scaler); }

ds_status ds_loss_scaler_get_scale(const ds_loss_scaler* scaler, double* out_scale) {
  return Guard([&]() -> Status {
    DS_REQUIRE(scaler);
    DS_REQUIRE(out_scale);
    *out_scale = scaler->scaler.scale();
    return {};
  });
}

ds_status ds_loss_scaler_update(ds_loss_scaler* scaler, int32_t overflowed) {
  return Guard([&]() -> Status {
    DS_REQUIRE(scaler);
    return scaler->scaler.Update(overflowed != 0);
  });
}

ds_status ds_loss_scaler_get_state(const ds_loss_scaler* scaler, ds_loss_scaler_state* out_state) {
  return Guard([&]() -> Status {
    DS_REQUIRE(scaler);
    DS_REQUIRE(out_state);
    DS_TRY(ds::capi::CheckOutput("out_state", out_state));
    const auto& s = scaler->scaler.state();
    const ds_loss_scaler_state state = {sizeof(ds_loss_scaler_state), s.scale, s.hysteresis,
                                        s.iteration, s.last_overflow};
    ds::capi::WriteStruct(state, out_state);
    return {};
  });
}

ds_status ds_loss_scaler_set_state(ds_loss_scaler* scaler, const ds_loss_scaler_state* state) {
  return Guard([&]() -> Status {
    DS_REQUIRE(scaler);
    DS_REQUIRE(state);
    ds_loss_scaler_state known = DS_LOSS_SCALER_STATE_INIT;
    DS_TRY(ds::capi::ReadStruct("state", state, known));
    return scaler->scaler.SetState(
        {known.scale, known.hysteresis, known.iteration, known.last_overflow});
  });
}

}  // extern "C"
