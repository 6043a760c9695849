// The fp32 products of one block of queries with one block of keys, for attention: all operands
// lie in the first cache levels, rows are short, and half of a block on the diagonal is never
// looked at. A general product packs more than it computes there. Each target compiles it anew.
#if defined(DS_KERNELS_SIMD_HEAD_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DS_KERNELS_SIMD_HEAD_PRODUCT_INL_H_
#undef DS_KERNELS_SIMD_HEAD_PRODUCT_INL_H_
#else
#define DS_KERNELS_SIMD_HEAD_PRODUCT_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/simd/transpose-inl.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// Rows of a tile of sums in registers: with two vectors a row, half of what the target has.
constexpr int64_t kTileRows = HWY_TARGET == HWY_AVX3 ? 8 : 4;
// Columns between whose multiples both tiles of rows and vectors end.
constexpr int64_t kTileStep = std::max(kLanes, kTileRows);

// Two dimensions of steps through memory: element (i, k) is at[i * row + k * column].
struct Strided {
  const float* at;
  int64_t row, column;
};

// c[kTileRows, kVectors vectors] (+)= the sum over k < depth, in order, of column k of a times row
// k of b.
template <int64_t kVectors>
HWY_INLINE void SumTile(int64_t depth, bool accumulate, Strided a, const float* b, int64_t b_row,
                        float* c, int64_t c_row) {
  const F32 d;
  VF sums[kTileRows][kVectors];
  for (int64_t i = 0; i < kTileRows; ++i) {
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[i][v] = accumulate ? hn::Load(d, c + i * c_row + v * kLanes) : hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < depth; ++k, a.at += a.column, b += b_row) {
    VF row[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) row[v] = hn::Load(d, b + v * kLanes);
    for (int64_t i = 0; i < kTileRows; ++i) {
      const VF factor = hn::Set(d, a.at[i * a.row]);
      for (int64_t v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(factor, row[v], sums[i][v]);
    }
  }
  for (int64_t i = 0; i < kTileRows; ++i) {
    for (int64_t v = 0; v < kVectors; ++v) {
      hn::Store(sums[i][v], d, c + i * c_row + v * kLanes);
    }
  }
}

// The same over `width` columns, a multiple of kLanes.
HWY_INLINE void SumRows(int64_t width, int64_t depth, bool accumulate, Strided a, const float* b,
                        int64_t b_row, float* c, int64_t c_row) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= width; j += 2 * kLanes) {
    SumTile<2>(depth, accumulate, a, b + j, b_row, c + j, c_row);
  }
  if (j < width) SumTile<1>(depth, accumulate, a, b + j, b_row, c + j, c_row);
}

// out[rows, RoundUp(width, kLanes)] = x and zeros behind it, and rows of zeros up to the next
// multiple of kTileStep.
template <typename T>
HWY_NOINLINE void Compact(int64_t rows, int64_t width, const T* x, int64_t x_row, float* out) {
  const F32 d;
  const int64_t padded = RoundUp(width, kLanes);
  for (int64_t r = 0; r < rows; ++r, x += x_row, out += padded) {
    ForVectors(
        width, [&](int64_t c) HWY_ATTR { hn::Store(LoadV(x + c), d, out + c); },
        [&](int64_t c, int64_t n) HWY_ATTR { hn::Store(LoadPart(x + c, n), d, out + c); });
  }
  std::memset(out, 0, (RoundUp(rows, kTileStep) - rows) * padded * sizeof(float));
}

// out[c, r] = x[r, c] in panels of two vectors of r, each [width, 2 kLanes]; rows and width are
// multiples of 4 and of kLanes. Four rows at a time, as squares of four.
HWY_NOINLINE void Transpose(int64_t rows, int64_t width, const float* x, float* out) {
  const F32 d;
  constexpr int64_t panel = 2 * kLanes;
  alignas(64) float columns[4 * kLanes];
  for (int64_t r = 0; r < rows; r += 4) {
    float* const to = out + r / panel * panel * width + r % panel;
    for (int64_t c = 0; c < width; c += kLanes) {
      VF v[4];
      for (int64_t i = 0; i < 4; ++i) v[i] = hn::Load(d, x + (r + i) * width + c);
      TransposeQuads(v);
      for (int64_t i = 0; i < 4; ++i) hn::Store(v[i], d, columns + i * kLanes);
      for (int64_t i = 0; i < kLanes; ++i) {
        std::memcpy(to + (c + i) * panel, columns + i % 4 * kLanes + i / 4 * 4, 4 * sizeof(float));
      }
    }
  }
}

}  // namespace
}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
