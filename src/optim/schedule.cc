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

double Warmup(const ScheduleOptions& o, int64_t iteration, bool decays) {
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
  return o.warmup_min_lr + (o.warmup_max_lr - o.warmup_min_lr) * gamma;
}

}  // namespace

double LearningRate(const ScheduleOptions& options, double base_lr, int64_t iteration) {
  switch (options.type) {
    case ScheduleOptions::Type::kConstant:
      return base_lr;
    case ScheduleOptions::Type::kWarmupLR:
      return Warmup(options, iteration, false);
    case ScheduleOptions::Type::kWarmupDecayLR:
      return Warmup(options, iteration, true);
    case ScheduleOptions::Type::kWarmupCosineLR:
      return Cosine(options, base_lr, iteration);
  }
  return base_lr;
}

}  // namespace ds::optim
