// The choice of one token from its logits. Not the loop around it.
//
// Logits pass, in this order: the penalty of repetition, the temperature, top_k, top_p, min_p; the
// same order as in transformers, so that a setting from there means the same here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace ds::infer {

struct SamplingOptions {
  double temperature = 1.0;  // 0: the largest logit, nothing random
  int64_t top_k = 0;         // only the k largest count; 0: all
  // Nucleus sampling (Holtzman et al. 2020): only the likeliest that together reach this
  // probability count; 1: all.
  double top_p = 1.0;
  // Only those at least this many times as likely as the likeliest count; 0: all.
  double min_p = 0.0;
  // Of tokens that are there already, positive logits are divided by it and negative ones
  // multiplied (CTRL, Keskar et al. 2019); 1: off.
  double repetition_penalty = 1.0;
  uint64_t seed = 0;

  Status Check() const;
};

class TokenSampler {
 public:
  explicit TokenSampler(const SamplingOptions& options) : options_(options) {}

  // A pure function of the options, the logits, `index` (which draw it is) and `seen` (the tokens
  // whose repetition is penalised). Of equal logits the lower id counts as larger. Fails when a
  // logit is NaN or infinite.
  Result<int32_t> Sample(std::span<const float> logits, uint64_t index,
                         std::span<const int32_t> seen = {});

 private:
  std::span<const float> Penalised(std::span<const float> logits, std::span<const int32_t> seen);
  void KeepLargest(std::span<const float> logits);
  void KeepNucleus(std::span<const float> logits, double largest);

  const SamplingOptions options_;
  std::vector<float> penalised_;  // scratch
  std::vector<int32_t> order_;
  std::vector<double> weights_;
};

}  // namespace ds::infer
