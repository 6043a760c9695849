// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as
// 1, 2, 3", SC 2011). A value is a pure function of (seed, stream, index); there is no state to
// save and no order to keep.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace ds {

constexpr std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter,
                                         std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// The index-th group of four 32-bit values of a stream.
constexpr std::array<uint32_t, 4> RandomBits(uint64_t seed, uint64_t stream, uint64_t index) {
  return Philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                 static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// In [0, n), for n > 0; the bias of at most n / 2^64 is below anything we draw.
constexpr uint64_t RandomBelow(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
  const auto bits = RandomBits(seed, stream, index);
  const uint64_t word = uint64_t{bits[0]} << 32 | bits[1];
  return static_cast<uint64_t>(static_cast<unsigned __int128>(word) * n >> 64);
}

// In [0, 1).
constexpr double RandomUniform(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto bits = RandomBits(seed, stream, index);
  return static_cast<double>((uint64_t{bits[0]} << 32 | bits[1]) >> 11) * 0x1.0p-53;
}

// Mean 0, variance 1 (Box-Muller).
inline double RandomNormal(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto bits = RandomBits(seed, stream, index);
  const double u = (static_cast<double>(bits[0]) + 1.0) * 0x1.0p-32;
  const double v = static_cast<double>(bits[1]) * 0x1.0p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace ds
