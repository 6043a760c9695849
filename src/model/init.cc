#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/rng.h"
#include "model/model.h"

namespace ds::model {
namespace {

// FNV-1a: the stream of a parameter, from its name.
uint64_t StreamOf(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

// Box-Muller on both pairs of a group: four values a group.
void NormalGroup(uint64_t seed, uint64_t stream, uint64_t group, float stddev, float out[4]) {
  const auto bits = RandomBits(seed, stream, group);
  for (int pair = 0; pair < 2; ++pair) {
    const double u = (static_cast<double>(bits[2 * pair]) + 1.0) * 0x1.0p-32;
    const double angle =
        2.0 * std::numbers::pi * (static_cast<double>(bits[2 * pair + 1]) * 0x1p-32);
    const double radius = stddev * std::sqrt(-2.0 * std::log(u));
    out[2 * pair] = static_cast<float>(radius * std::cos(angle));
    out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

void UniformGroup(uint64_t seed, uint64_t stream, uint64_t group, float bound, float out[4]) {
  const auto bits = RandomBits(seed, stream, group);
  for (int i = 0; i < 4; ++i) {
    out[i] = static_cast<float>(bound * (static_cast<double>(bits[i]) * 0x1p-31 - 1.0));
  }
}

}  // namespace

void FillRandom(TaskPool& pool, uint64_t seed, const Param& param, int64_t begin,
                std::span<float> values) {
  const InitRule::Kind kind = param.init.kind;
  if (kind != InitRule::Kind::kNormal && kind != InitRule::Kind::kUniform) {
    std::fill(values.begin(), values.end(), kind == InitRule::Kind::kOnes ? 1.0f : 0.0f);
    return;
  }
  constexpr int64_t kTile = 1 << 14;
  const int64_t last = begin + static_cast<int64_t>(values.size());
  const uint64_t stream = StreamOf(param.spec.name);
  // Tiles lie where they would for the whole array; the first and the last group may be in part.
  const int64_t first_tile = begin / kTile, tiles = (last + kTile - 1) / kTile - first_tile;
  pool.Run(tiles, [&](int64_t tile, int) {
    const int64_t from = (first_tile + tile) * kTile, end = std::min(last, from + kTile);
    for (int64_t i = std::max(from, begin / 4 * 4); i < end; i += 4) {
      float group[4];
      const auto fill = kind == InitRule::Kind::kNormal ? NormalGroup : UniformGroup;
      fill(seed, stream, static_cast<uint64_t>(i / 4), param.init.spread, group);
      const int64_t skip = std::max<int64_t>(0, begin - i), to = std::min<int64_t>(4, end - i);
      std::copy(group + skip, group + to, values.begin() + (i + skip - begin));
    }
  });
}

ParamValues RandomValues(TaskPool& pool, uint64_t seed, const Param& param) {
  const auto fill = [&pool, seed, param](int64_t begin, std::span<float> out) -> Status {
    FillRandom(pool, seed, param, begin, out);
    return {};
  };
  return {param.spec.numel(), fill, seed};
}

}  // namespace ds::model
