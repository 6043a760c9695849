#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"

namespace ds::infer {
namespace {

constexpr uint64_t kStream = uint64_t{0xA5} << 56;  // apart from the other draws of a seed

}  // namespace

Status SamplingOptions::Check() const {
  if (!(temperature >= 0) || std::isinf(temperature)) {
    return InvalidArgument("temperature is {}, expected 0 or more", temperature);
  }
  if (top_k < 0) return InvalidArgument("top_k is {}, expected 0 (all) or more", top_k);
  return {};
}

Result<int32_t> TokenSampler::Sample(std::span<const float> logits, uint64_t index) {
  if (logits.empty()) return InvalidArgument("no logits to choose from");
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) {
      return InvalidState("the logit of token {} is {}: the model is broken", i, logits[i]);
    }
  }
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options_.temperature == 0) return static_cast<int32_t>(largest - logits.begin());

  const auto greater = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(order_.size())) {
    std::nth_element(order_.begin(), order_.begin() + options_.top_k, order_.end(), greater);
    order_.resize(static_cast<size_t>(options_.top_k));
    std::sort(order_.begin(), order_.end());
  }
  weights_.clear();
  double sum = 0;
  for (const int32_t id : order_) {
    sum += std::exp((static_cast<double>(logits[id]) - *largest) / options_.temperature);
    weights_.push_back(sum);
  }
  const double at = RandomUniform(options_.seed, kStream, index) * sum;
  const auto chosen = std::upper_bound(weights_.begin(), weights_.end(), at);
  const auto place = std::min<ptrdiff_t>(chosen - weights_.begin(), std::ssize(order_) - 1);
  return order_[static_cast<size_t>(place)];
}

}  // namespace ds::infer
