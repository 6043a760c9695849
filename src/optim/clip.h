// What gradients are multiplied by, to unscale them and to clip them by their global norm (Pascanu
// et al. 2013, algorithm 1), in the two forms that DeepSpeed has. Norms are of all parameters and
// ranks together; how they are summed is the caller's.
#pragma once

#include <span>

namespace ds::optim {

// min(1, max_norm / (norm + 1e-6)): fp32 without ZeRO, and bf16. max_norm 0: 1.
double ClipFactor(double norm, double max_norm);

// 1 / (scale * max(1, (norm / scale + 1e-6) / max_norm)): ZeRO and fp16, where `norm` is that of
// gradients which are still multiplied by `scale`. max_norm 0: 1 / scale.
double UnscaleAndClipFactor(double norm, double max_norm, double scale);

// The norm of several groups: the root of the sum of squares, without overflow on the way.
// Infinity when any of them is not finite or negative (-1 marks a group that is not finite).
double GlobalNorm(std::span<const double> norms);

// A step with this norm must be skipped.
bool IsInvalidNorm(double norm);

}  // namespace ds::optim
