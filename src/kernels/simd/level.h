// Which instruction sets the SIMD kernels are compiled for, and which one this machine gets.
// Included before Highway. Highway's own run-time dispatch lives in a library that the core must
// not need, so the choice is made here, once, from the processor's flags.
#pragma once

#include <optional>
#include <string_view>

// Kept: SSE4, AVX2 and AVX-512. Highway's scalar target lacks operations, so SSE4 is named as the
// baseline; a processor without it gets the functions of ref/.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#define HWY_BASELINE_TARGETS HWY_SSE4
#endif

namespace ds::kernels::simd {

enum class Level { kRef, kSse4, kAvx2, kAvx512 };

// What the processor and system offer, capped by DS_CPU_ISA = ref | sse4 | avx2 | avx512.
Level BestLevel();
const char* LevelName(Level level);
std::optional<Level> LevelOf(std::string_view name);

// The function for a level.
template <typename F>
F ChooseAt(Level level, F ref, F sse4, F avx2, F avx512) {
  switch (level) {
    case Level::kRef:
      return ref;
    case Level::kSse4:
      return sse4;
    case Level::kAvx2:
      return avx2;
    case Level::kAvx512:
      return avx512;
  }
  return ref;
}

}  // namespace ds::kernels::simd

// The function `name` of namespace ds::kernels::`space` in each compiled target, narrowest first.
#define DS_SIMD_TARGETS(space, name)                                      \
  ::ds::kernels::space::N_SSE4::name, ::ds::kernels::space::N_AVX2::name, \
      ::ds::kernels::space::N_AVX3::name
