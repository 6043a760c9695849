#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ds::optim {
namespace {

// The share of the way from the warm-up's start to its end, in [0, 1).
double WarmupGamma(const ScheduleOptions& o, int64_t iteration) {
  const double steps = static_cast<double>(std::max<int64_t>(2, o.warmup_num_steps));
  const double it = static_cast<double>(iteration);
  return o.warmup_type == ScheduleOptions::Warmup::kLog ? std::log(it + 1) / std::log(steps)
                                                        : it / steps;
}

double Cosine(const ScheduleOptions& o, double base_lr, int64_t iteration) {
  const int64_t warmup = std::max<int64_t>(2, o.warmup_num_steps);
  if (iteration < 0) return 0.0;
  if (iteration < warmup) {
    const double ratio =
        o.warmup_min_ratio + (1.0 - o.warmup_min_ratio) * WarmupGamma(o, iteration);
    return base_lr * ratio;
  }
  const double left = static_cast<double>(std::max<int64_t>(1, o.total_num_steps - warmup));
  const double progress = std::min(1.0, static_cast<double>(iteration - warmup + 1) / left);
  const double cosine = (1.0 + std::cos(std::numbers::pi * progress)) / 2.0;
  return base_lr * std::max(0.0, o.cos_min_ratio + (1.0 - o.cos_min_ratio) * cosine);
}

double Warmup(const ScheduleOptions& o, double base_lr, int64_t iteration, bool decays) {
  const int64_t warmup = std::max<int64_t>(2, o.warmup_num_steps);
  if (iteration < 0) return o.warmup_min_lr;
  double gamma = 1.0;
  if (iteration < warmup) {
    gamma = WarmupGamma(o, iteration);
  } else if (decays) {
    const double left = static_cast<double>(o.total_num_steps - iteration);
    gamma =
        std::max(0.0, left / static_cast<double>(std::max<int64_t>(1, o.total_num_steps - warmup)));
  }
  return o.warmup_min_lr + (o.warmup_max_lr.value_or(base_lr) - o.warmup_min_lr) * gamma;
}

// Where OneCycle is.
struct CyclePlace {
  bool decays;   // behind the cycle
  double scale;  // in the cycle: 0 at its ends, 1 at its top
  double decay;  // behind it: decay intervals gone
};

CyclePlace PlaceInCycle(const ScheduleOptions& o, int64_t iteration) {
  const int64_t length = o.cycle_first_step_size + o.cycle_second_step_size;
  if (iteration >= length) {
    const auto behind = static_cast<double>(iteration - length + 1);
    return {true, 0.0,
            o.decay_step_size == 0 ? 0.0 : behind / static_cast<double>(o.decay_step_size)};
  }
  const double total = static_cast<double>(length);
  const double ratio = static_cast<double>(o.cycle_first_step_size) / total;
  const double at = 1.0 + static_cast<double>(iteration + 1) / total;
  const double x = at - std::floor(at);
  const bool first = x <= ratio;
  const double scale = first ? x / ratio : (x - 1.0) / (ratio - 1.0);
  const int64_t stairs = first ? o.cycle_first_stair_count : o.cycle_second_stair_count;
  if (stairs == 0) return {false, scale, 0.0};
  // The last bit of the division must not decide on which stair the edge lies.
  const double level = std::floor(scale * static_cast<double>(stairs) + 1e-9);
  return {false, level / static_cast<double>(stairs), 0.0};
}

double OneCycle(const ScheduleOptions& o, int64_t iteration) {
  if (iteration < 0) return o.cycle_min_lr;
  const CyclePlace place = PlaceInCycle(o, iteration);
  if (place.decays) return o.cycle_min_lr / (1.0 + o.decay_lr_rate * place.decay);
  return o.cycle_min_lr + (o.cycle_max_lr - o.cycle_min_lr) * place.scale;
}

double RangeTest(const ScheduleOptions& o, int64_t iteration) {
  const double steps = static_cast<double>(iteration + 1) / static_cast<double>(o.range_step_size);
  return o.range_min_lr *
         (1.0 + o.range_step_rate * (o.range_staircase ? std::floor(steps) : steps));
}

}  // namespace

std::optional<double> Momentum(const ScheduleOptions& o, int64_t iteration) {
  if (o.type != ScheduleOptions::Type::kOneCycle || !o.cycle_momentum) return std::nullopt;
  // As DeepSpeed: the smallest before the first step, then from the largest downwards.
  if (iteration < 0) return o.cycle_min_mom;
  const CyclePlace place = PlaceInCycle(o, iteration);
  if (place.decays) return o.cycle_max_mom * (1.0 + o.decay_mom_rate * place.decay);
  return o.cycle_max_mom - (o.cycle_max_mom - o.cycle_min_mom) * place.scale;
}

double LearningRate(const ScheduleOptions& options, double base_lr, int64_t iteration) {
  switch (options.type) {
    case ScheduleOptions::Type::kConstant:
      return base_lr;
    case ScheduleOptions::Type::kWarmupLR:
      return Warmup(options, base_lr, iteration, false);
    case ScheduleOptions::Type::kWarmupDecayLR:
      return Warmup(options, base_lr, iteration, true);
    case ScheduleOptions::Type::kWarmupCosineLR:
      return Cosine(options, base_lr, iteration);
    case ScheduleOptions::Type::kOneCycle:
      return OneCycle(options, iteration);
    case ScheduleOptions::Type::kLRRangeTest:
      return RangeTest(options, iteration);
  }
  return base_lr;
}

}  // namespace ds::optim
