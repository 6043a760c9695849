// Where the time of a rank's steps went, as its driver thread saw it.
#pragma once

#include <chrono>

#include "base/trace.h"

namespace ds::zero {

struct PhaseSeconds {
  double gather = 0;  // waited for gathered weights
  double reduce = 0;  // waited for gradients to be reduced
  double norm = 0;    // of the gradients
  double update = 0;  // the optimizer, and spreading what it changed
};

// Adds the time of its scope to a phase, and is a span of the trace.
class PhaseTimer {
 public:
  PhaseTimer(double& seconds, TraceLane lane, const char* what)
      : seconds_(seconds), span_(lane, what) {}
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;
  ~PhaseTimer() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;

  double& seconds_;
  const TraceSpan span_;
  const Clock::time_point start_ = Clock::now();
};

}  // namespace ds::zero
