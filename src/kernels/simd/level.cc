#include "kernels/simd/level.h"

#include <cpuid.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace ds::kernels::simd {
namespace {

constexpr struct {
  Level level;
  const char* name;
} kNames[] = {{Level::kRef, "ref"},
              {Level::kSse4, "sse4"},
              {Level::kAvx2, "avx2"},
              {Level::kAvx512, "avx512"}};

// Clang 14 knows no such name of a feature.
bool HasF16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// Everything that the compiler may use in functions of that target.
Level OfProcessor() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("aes") ||
      !__builtin_cpu_supports("pclmul")) {
    return Level::kRef;
  }
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && HasF16c();
  if (!avx2) return Level::kSse4;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512cd");
  return avx512 ? Level::kAvx512 : Level::kAvx2;
}

Level Find() {
  const Level machine = OfProcessor();
  const char* cap = std::getenv("DS_CPU_ISA");
  return cap == nullptr ? machine : std::min(machine, LevelOf(cap).value_or(machine));
}

}  // namespace

Level BestLevel() {
  static const Level level = Find();
  return level;
}

std::optional<Level> LevelOf(std::string_view name) {
  for (const auto& known : kNames) {
    if (known.name == name) return known.level;
  }
  return std::nullopt;
}

const char* LevelName(Level level) {
  for (const auto& known : kNames) {
    if (known.level == level) return known.name;
  }
  return "unknown";
}

}  // namespace ds::kernels::simd
