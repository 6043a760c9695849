// A ZeRO stage is a placement: which pieces of training state are cut over the ranks. This table
// is the one place that knows the stages by number; all other code asks the questions.
#pragma once

#include <array>
#include <cstdint>

namespace ds::zero {

struct Placement {
  const char* name;
  bool shards_optimizer;   // fp32 master weights and moments
  bool shards_gradients;   // after reduction
  bool shards_parameters;  // 16-bit (or fp32) weights
};

// Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC
// 2020, section 5: P_os, P_os+g, P_os+g+p.
inline constexpr std::array<Placement, 4> kPlacements = {{
    {"stage 0 (replicated)", false, false, false},
    {"stage 1 (optimizer)", true, false, false},
    {"stage 2 (optimizer, gradients)", true, true, false},
    {"stage 3 (optimizer, gradients, parameters)", true, true, true},
}};

struct ZeroOptions {
  int stage = 0;  // a row of kPlacements
  // Gathered weights kept for reuse, and gathered ahead of use, in elements. Stage 3.
  int64_t max_live_parameters = 1'000'000'000;
  int64_t prefetch_bucket_size = 50'000'000;
  // Parameters registered without a unit share one until it has this many elements.
  int64_t reduce_bucket_size = 500'000'000;
  bool overlap_comm = false;             // gathers and reductions run beside the caller
  bool ignore_unused_parameters = true;  // false: a gradient that never came is an error
};

}  // namespace ds::zero
