// The loss scale of fp16 training as a state machine, fed with one bit a step: did the gradients
// overflow? (Micikevicius et al. 2018, section 3.2; rules of
// deepspeed/runtime/fp16/loss_scaler.py.)
//
//   overflow   hysteresis > 1: hysteresis - 1
//              hysteresis 1:   scale / factor, not below min_scale
//   none       after each `window` steps without overflow: scale * factor, hysteresis refilled
//              (with consecutive_hysteresis it is refilled by every step without overflow)
//
// A static scale is the machine that never moves. Knows nothing of gradients.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace ds::optim {

struct LossScaleOptions {
  bool dynamic = true;
  double init_scale = 65536;  // of a static one: the scale
  double factor = 2;
  int64_t window = 1000;
  double min_scale = 1;
  int64_t hysteresis = 2;  // overflows in a row that are borne before the scale sinks
  bool consecutive_hysteresis = false;
  // An overflow at min_scale fails, as with ZeRO; false: it stays there, as without.
  bool fails_at_min = true;
};

// What a resume needs beside the options.
struct LossScaleState {
  double scale;
  int64_t hysteresis;     // left
  int64_t iteration;      // updates so far
  int64_t last_overflow;  // the iteration of it, -1 before any
};

class LossScaler {
 public:
  // Code kInvalidArgument: a scale, factor, window or hysteresis that cannot be.
  static Result<LossScaler> Create(const LossScaleOptions& options);

  double scale() const { return state_.scale; }
  // After each step, applied or not. Code kInvalidState: overflow at the least scale, where that
  // fails; the state is then as it was.
  Status Update(bool overflow);

  const LossScaleState& state() const { return state_; }
  Status SetState(const LossScaleState& state);

 private:
  explicit LossScaler(const LossScaleOptions& options)
      : options_(options), state_{options.init_scale, options.hysteresis, 0, -1} {}

  LossScaleOptions options_;
  LossScaleState state_;
};

}  // namespace ds::optim
