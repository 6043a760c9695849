// The SIMD functions of the table of operations, a family a file, each compiled once a target of
// level.h. Not the matrix product (gemm.cc), and no run-time dispatch beyond filling the table.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/ops.h"
#include "kernels/simd/level.h"

namespace ds::kernels::simd {

// The most elements of a tile of elementwise work: 64 KiB of fp32, a few microseconds.
constexpr int64_t kTile = 16384;
// The most columns that a tile sums over all rows: its fp32 sums stay in the first-level cache.
constexpr int64_t kColumns = 256;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t n, int64_t step) { return CeilDiv(n, step) * step; }
// Elements of a tile of n: no value depends on where it is cut, and arrays of a small model leave
// something to every core.
constexpr int64_t TileLength(int64_t n) {
  constexpr int64_t kLeast = 2048;
  return std::clamp(RoundUp(CeilDiv(n, 8), kLeast), kLeast, kTile);
}
// Whole rows of `width` that make about one tile.
constexpr int64_t TileRows(int64_t width) {
  return std::max<int64_t>(1, kTile / std::max<int64_t>(1, width));
}

// The table: a row of functions a dtype.
struct Rows {
  Ops f32, bf16, f16;
};

// Overrides what `level` has for the rows of the table; at Level::kRef nothing.
void FillSimd(Level level, Rows& rows);

// One for each file of the family.
void FillElementwise(Level level, Rows& rows);
void FillNorm(Level level, Rows& rows);
void FillEmbedding(Level level, Rows& rows);
void FillDropout(Level level, Rows& rows);
void FillLoss(Level level, Rows& rows);
void FillAttention(Level level, Rows& rows);
void FillCachedAttention(Level level, Rows& rows);
void FillOptimizer(Level level, Rows& rows);
void FillUpdate(Level level, Rows& rows);

using FillFn = void (*)(Rows& rows);
inline void FillNothing(Rows&) {}

}  // namespace ds::kernels::simd
