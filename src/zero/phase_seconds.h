// Where the time of a rank's steps went, as its driver thread saw it.
#pragma once

#include <chrono>

namespace ds::zero {

struct PhaseSeconds {
  double gather = 0;  // waited for gathered weights
  double reduce = 0;  // waited for gradients to be reduced
  double norm = 0;    // of the gradients
  double update = 0;  // the optimizer, and spreading what it changed
};

class PhaseTimer {
 public:
  explicit PhaseTimer(double& seconds) : seconds_(seconds) {}
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;
  ~PhaseTimer() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;

  double& seconds_;
  const Clock::time_point start_ = Clock::now();
};

}  // namespace ds::zero
