// The order in which a step first uses its units, recorded to foretell the next step. It is the
// same on every rank as long as the program is, and so are the predictions made from it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace ds::zero {

class Order {
 public:
  // A unit is used now. A use that differs from the prediction ends prediction for this step.
  void Use(int unit) {
    if (now_.size() == kLongest) {
      foretells_ = false;
      return;
    }
    if (foretells_ && (now_.size() >= last_.size() || last_[now_.size()] != unit)) {
      foretells_ = false;
    }
    now_.push_back(unit);
  }
  // The units expected next, nearest first; empty while recording.
  std::span<const int> Coming() const {
    if (!foretells_) return {};
    return std::span(last_).subspan(now_.size());
  }
  void EndStep() {
    last_.swap(now_);
    Forget();
  }
  // What was used since the last step was no step (an evaluation): foretell as after that step.
  void Forget() {
    now_.clear();
    foretells_ = !last_.empty();
  }

 private:
  // A program that only reads weights never ends a step; its record stays short.
  static constexpr size_t kLongest = 1 << 16;

  std::vector<int> last_, now_;
  bool foretells_ = false;
};

}  // namespace ds::zero
