// Learning-rate schedules as pure functions of the iteration, with DeepSpeed's semantics
// (deepspeed/runtime/lr_schedules.py): iteration -1 is "built, not stepped yet", and the schedule
// advances once after every applied optimizer step.
#pragma once

#include <cstdint>

namespace ds::optim {

struct ScheduleOptions {
  enum class Type { kConstant, kWarmupLR, kWarmupDecayLR, kWarmupCosineLR };
  enum class Warmup { kLog, kLinear };

  Type type = Type::kConstant;
  Warmup warmup_type = Warmup::kLog;
  int64_t warmup_num_steps = 1000;
  int64_t total_num_steps = 0;
  double warmup_min_lr = 0.0;
  double warmup_max_lr = 0.001;  // WarmupLR, WarmupDecayLR
  // WarmupCosineLR: ratios of the optimizer's lr
  double warmup_min_ratio = 0.0;
  double cos_min_ratio = 1e-4;
};

// The learning rate while `iteration` is the last finished one; `base_lr` is the optimizer's.
double LearningRate(const ScheduleOptions& options, double base_lr, int64_t iteration);

// The learning rate of applied optimizer step `step` (0 is the first).
inline double LearningRateOfStep(const ScheduleOptions& options, double base_lr, int64_t step) {
  return LearningRate(options, base_lr, step - 1);
}

}  // namespace ds::optim
