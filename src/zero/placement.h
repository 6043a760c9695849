// A ZeRO stage is a placement: over which ranks each piece of training state is cut. This table is
// the one place that knows the stages by number; all other code asks the questions.
#pragma once

#include <array>
#include <cstdint>

namespace ds::zero {

// Over whom an array is cut, coarsest first: what a rank keeps under a later one is a part of what
// it keeps under an earlier one.
enum class Cut : uint8_t {
  kNone,   // every rank keeps all of it
  kGroup,  // cut over the ranks of a group, alike in every group; hierarchical rows alone
  kWorld,  // cut over all ranks
};

struct Placement {
  const char* name;
  Cut optimizer;   // fp32 master weights and moments
  Cut gradients;   // after reduction
  Cut parameters;  // 16-bit (or fp32) weights

  constexpr bool shards_gradients() const { return gradients != Cut::kNone; }
  constexpr bool shards_parameters() const { return parameters != Cut::kNone; }
};

// Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC
// 2020, section 5: P_os, P_os+g, P_os+g+p; Wang et al., "ZeRO++", 2023, section 3.2 (weights cut
// again inside a group); Zhang et al., "MiCS", VLDB 2022, section 3 (everything inside a group).
inline constexpr std::array<Placement, 6> kPlacements = {{
    {"stage 0 (replicated)", Cut::kNone, Cut::kNone, Cut::kNone},
    {"stage 1 (optimizer)", Cut::kWorld, Cut::kNone, Cut::kNone},
    {"stage 2 (optimizer, gradients)", Cut::kWorld, Cut::kWorld, Cut::kNone},
    {"stage 3 (optimizer, gradients, parameters)", Cut::kWorld, Cut::kWorld, Cut::kWorld},
    {"stage 3, parameters in groups (hpZ)", Cut::kWorld, Cut::kWorld, Cut::kGroup},
    {"stage 3 in groups (MiCS)", Cut::kGroup, Cut::kGroup, Cut::kGroup},
}};
inline constexpr int kPlacementHpz = 4, kPlacementMics = 5;

struct ZeroOptions {
  int stage = 0;
  // Ranks of a group that the parameters (hpZ), or all state (MiCS), are cut over; consecutive
  // ranks, the size divides the world. 0: no groups. Stage 3.
  int hpz_group = 0, mics_group = 0;
  // Gathered weights kept for reuse, and gathered ahead of use, in elements. Stage 3.
  int64_t max_live_parameters = 1'000'000'000;
  int64_t prefetch_bucket_size = 50'000'000;
  // Parameters registered without a unit share one until it has this many elements.
  int64_t reduce_bucket_size = 500'000'000;
  bool overlap_comm = false;             // gathers and reductions run beside the caller
  bool ignore_unused_parameters = true;  // false: a gradient that never came is an error
};

// The row in force in a world of that size: nothing is cut in a world of one.
constexpr const Placement& PlacementOf(const ZeroOptions& options, int world) {
  if (world == 1) return kPlacements[0];
  if (options.mics_group > 0) return kPlacements[kPlacementMics];
  if (options.hpz_group > 0) return kPlacements[kPlacementHpz];
  return kPlacements[options.stage];
}
// Ranks of a group; without groups all ranks are one.
constexpr int GroupSizeOf(const ZeroOptions& options, int world) {
  const int asked = options.mics_group > 0 ? options.mics_group : options.hpz_group;
  return asked > 0 && world > 1 ? asked : world;
}

}  // namespace ds::zero
