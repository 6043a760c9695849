// Learning-rate schedules as pure functions of the iteration, with DeepSpeed's semantics
// (deepspeed/runtime/lr_schedules.py): iteration -1 is "built, not stepped yet", and the schedule
// advances once after every applied optimizer step.
#pragma once

#include <cstdint>
#include <optional>

namespace ds::optim {

struct ScheduleOptions {
  enum class Type {
    kConstant,
    kWarmupLR,
    kWarmupDecayLR,
    kWarmupCosineLR,
    kOneCycle,
    kLRRangeTest
  };
  enum class Warmup { kLog, kLinear };

  Type type = Type::kConstant;
  Warmup warmup_type = Warmup::kLog;
  int64_t warmup_num_steps = 1000;
  int64_t total_num_steps = 0;
  double warmup_min_lr = 0.0;
  std::optional<double> warmup_max_lr = {};  // WarmupLR, WarmupDecayLR; none: the optimizer's lr
  // WarmupCosineLR: ratios of the optimizer's lr
  double warmup_min_ratio = 0.0;
  double cos_min_ratio = 1e-4;

  // OneCycle (Smith 2018, arXiv 1803.09820): up in the first part of the cycle, down in the second,
  // then decay. A stair count cuts a part into that many levels; 0: smooth.
  double cycle_min_lr = 0.0, cycle_max_lr = 0.0;
  int64_t cycle_first_step_size = 2000, cycle_second_step_size = 2000;
  int64_t cycle_first_stair_count = 0, cycle_second_stair_count = 0;
  int64_t decay_step_size = 0;  // 0: no decay of either
  double decay_lr_rate = 0.0;
  bool cycle_momentum = true;  // beta1 moves against the learning rate
  double cycle_min_mom = 0.8, cycle_max_mom = 0.9;
  double decay_mom_rate = 0.0;

  // LRRangeTest (Smith 2017, arXiv 1506.01186)
  double range_min_lr = 1e-3, range_step_rate = 1.0;
  int64_t range_step_size = 2000;
  bool range_staircase = false;
};

// The learning rate while `iteration` is the last finished one; `base_lr` is the optimizer's, or
// that of a group or a half of it which has its own.
double LearningRate(const ScheduleOptions& options, double base_lr, int64_t iteration);
// beta1 then, where the schedule cycles it; beta2 is kCycledBeta2 with it.
std::optional<double> Momentum(const ScheduleOptions& options, int64_t iteration);
// DeepSpeed overwrites beta2 so, whatever the optimizer's is.
constexpr double kCycledBeta2 = 0.99;

// The learning rate of applied optimizer step `step` (0 is the first).
inline double LearningRateOfStep(const ScheduleOptions& options, double base_lr, int64_t step) {
  return LearningRate(options, base_lr, step - 1);
}
inline std::optional<double> MomentumOfStep(const ScheduleOptions& options, int64_t step) {
  return Momentum(options, step - 1);
}

}  // namespace ds::optim
