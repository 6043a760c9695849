#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
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
  if (!(top_p > 0 && top_p <= 1)) {
    return InvalidArgument("top_p is {}, expected above 0 and up to 1 (all)", top_p);
  }
  if (!(min_p >= 0 && min_p <= 1)) return InvalidArgument("min_p is {}, expected 0 to 1", min_p);
  // Logits are floats, and so is what divides them.
  const auto penalty = static_cast<float>(repetition_penalty);
  if (!(penalty > 0) || std::isinf(penalty)) {
    return InvalidArgument("repetition_penalty is {}, expected above 0, where 1 is off",
                           repetition_penalty);
  }
  return {};
}

std::span<const float> TokenSampler::Penalised(std::span<const float> logits,
                                               std::span<const int32_t> seen) {
  if (options_.repetition_penalty == 1 || seen.empty()) return logits;
  penalised_.assign(logits.begin(), logits.end());
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  for (const int32_t id : seen) {  // from the original: a token that came twice is penalised once
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    const float logit = logits[static_cast<size_t>(id)];
    constexpr float kMost = std::numeric_limits<float>::max();
    const float less = logit > 0 ? logit / penalty : logit * penalty;
    penalised_[static_cast<size_t>(id)] = std::clamp(less, -kMost, kMost);
  }
  return penalised_;
}

// Of all tokens in order_, the top_k, in order of ids.
void TokenSampler::KeepLargest(std::span<const float> logits) {
  const auto greater = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  std::nth_element(order_.begin(), order_.begin() + options_.top_k, order_.end(), greater);
  order_.resize(static_cast<size_t>(options_.top_k));
  std::sort(order_.begin(), order_.end());
}

// Of the tokens in order_, those that top_p and min_p leave, in order of ids. The likeliest stays
// always.
void TokenSampler::KeepNucleus(std::span<const float> logits, double largest) {
  const auto weight = [&](int32_t id) {
    return std::exp((static_cast<double>(logits[id]) - largest) / options_.temperature);
  };
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  double sum = 0;
  for (const int32_t id : order_) sum += weight(id);
  size_t kept = order_.size();
  if (options_.top_p < 1) {
    double reached = 0;
    for (kept = 0; kept < order_.size() && reached < options_.top_p * sum;) {
      reached += weight(order_[kept++]);
    }
    kept = std::max<size_t>(kept, 1);
  }
  while (kept > 1 && weight(order_[kept - 1]) < options_.min_p) --kept;  // the likeliest weighs 1
  order_.resize(kept);
  std::sort(order_.begin(), order_.end());
}

Result<int32_t> TokenSampler::Sample(std::span<const float> logits, uint64_t index,
                                     std::span<const int32_t> seen) {
  if (logits.empty()) return InvalidArgument("no logits to choose from");
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) {
      return InvalidState("the logit of token {} is {}: the model is broken", i, logits[i]);
    }
  }
  logits = Penalised(logits, seen);
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options_.temperature == 0) return static_cast<int32_t>(largest - logits.begin());

  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (options_.top_k > 0 && options_.top_k < std::ssize(order_)) KeepLargest(logits);
  if (options_.top_p < 1 || options_.min_p > 0) KeepNucleus(logits, *largest);
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
