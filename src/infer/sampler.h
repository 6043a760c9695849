// The choice of one token from its logits. Not the loop around it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace ds::infer {

struct SamplingOptions {
  double temperature = 1.0;  // 0: the largest logit, nothing random
  int64_t top_k = 0;         // only the k largest count; 0: all
  uint64_t seed = 0;

  Status Check() const;
};

class TokenSampler {
 public:
  explicit TokenSampler(const SamplingOptions& options) : options_(options) {}

  // A pure function of the options, the logits and `index` (which draw it is). Of equal logits the
  // lower id counts as larger. Fails when a logit is NaN or infinite.
  Result<int32_t> Sample(std::span<const float> logits, uint64_t index);

 private:
  const SamplingOptions options_;
  std::vector<int32_t> order_;  // scratch
  std::vector<double> weights_;
};

}  // namespace ds::infer
