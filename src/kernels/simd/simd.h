// The SIMD functions of the table of operations, a family a file, each compiled once a target of
// level.h. Not the matrix product (gemm.cc), and no run-time dispatch beyond filling the table.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/ops.h"
#include "kernels/simd/level.h"

namespace ds::kernels::simd {

// Elements of a tile of elementwise work: 64 KiB of fp32, a few microseconds.
constexpr int64_t kTile = 16384;
// Columns that a tile sums over all rows: its fp32 sums stay in the first-level cache.
constexpr int64_t kColumns = 256;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
// Whole rows of `width` that make about one tile.
constexpr int64_t TileRows(int64_t width) {
  return std::max<int64_t>(1, kTile / std::max<int64_t>(1, width));
}

// Overrides what `level` has for both rows of the table; at Level::kRef nothing.
void FillSimd(Level level, Ops& f32, Ops& bf16);

// One for each file of the family.
void FillElementwise(Level level, Ops& f32, Ops& bf16);
void FillNorm(Level level, Ops& f32, Ops& bf16);
void FillEmbedding(Level level, Ops& f32, Ops& bf16);
void FillLoss(Level level, Ops& f32, Ops& bf16);
void FillAttention(Level level, Ops& f32, Ops& bf16);
void FillOptimizer(Level level, Ops& f32, Ops& bf16);
void FillUpdate(Level level, Ops& f32, Ops& bf16);

using FillFn = void (*)(Ops& f32, Ops& bf16);
inline void FillNothing(Ops&, Ops&) {}

}  // namespace ds::kernels::simd
