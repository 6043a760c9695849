#include "optim/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace ds::optim {
namespace {

constexpr int64_t kMostIterations = int64_t{1} << 62;  // more are no count of anybody's

bool Positive(double x) { return x > 0 && std::isfinite(x); }

}  // namespace

Result<LossScaler> LossScaler::Create(const LossScaleOptions& o) {
  if (!Positive(o.init_scale)) {
    return InvalidArgument("loss scale {:g} is not positive and finite", o.init_scale);
  }
  if (!o.dynamic) return LossScaler(o);
  if (!(o.factor > 1) || !Positive(o.factor)) {
    return InvalidArgument("loss scale factor {:g} is not above 1", o.factor);
  }
  if (o.window < 1 || o.hysteresis < 1) {
    return InvalidArgument("loss scale window {} and hysteresis {} must be 1 or more", o.window,
                           o.hysteresis);
  }
  if (!(o.min_scale >= 0) || !std::isfinite(o.min_scale)) {
    return InvalidArgument("least loss scale {:g} is negative or not finite", o.min_scale);
  }
  return LossScaler(o);
}

Status LossScaler::Update(bool overflow) {
  LossScaleState& s = state_;
  if (!options_.dynamic) return {};
  if (overflow) {
    if (s.hysteresis > 1) {
      --s.hysteresis;
    } else if (s.scale == options_.min_scale && options_.fails_at_min) {
      return InvalidState("the gradients overflow at loss scale {:g}, which is the least", s.scale);
    } else {
      s.scale = std::max(s.scale / options_.factor, options_.min_scale);
    }
    s.last_overflow = s.iteration;
  } else {
    if (options_.consecutive_hysteresis) s.hysteresis = options_.hysteresis;
    const int64_t stable = s.iteration - s.last_overflow - 1;
    if (stable > 0 && stable % options_.window == 0) {
      s.hysteresis = options_.hysteresis;
      // No further than a double goes, from where it could not come back.
      if (std::isfinite(s.scale * options_.factor)) s.scale *= options_.factor;
    }
  }
  ++s.iteration;
  return {};
}

Status LossScaler::SetState(const LossScaleState& state) {
  if (!Positive(state.scale) || state.hysteresis < 1 || state.hysteresis > options_.hysteresis ||
      state.iteration < 0 || state.iteration > kMostIterations || state.last_overflow < -1 ||
      state.last_overflow >= state.iteration) {
    // A fresh state is iteration 0 with last_overflow -1, which passes.
    return InvalidArgument(
        "loss scale state: scale {:g}, hysteresis {} of {}, iteration {}, last overflow {}",
        state.scale, state.hysteresis, options_.hysteresis, state.iteration, state.last_overflow);
  }
  state_ = state;
  return {};
}

}  // namespace ds::optim
