// A matrix of fp32 transposed by squares of a vector, for every target. Not a header of
// declarations: each target compiles it anew.
#if defined(DS_KERNELS_SIMD_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DS_KERNELS_SIMD_TRANSPOSE_INL_H_
#undef DS_KERNELS_SIMD_TRANSPOSE_INL_H_
#else
#define DS_KERNELS_SIMD_TRANSPOSE_INL_H_
#endif

#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// v[0..3] as a matrix of 4 rows in each run of four lanes: transposed.
HWY_INLINE void TransposeQuads(VF* v) {
  const F32 d;
  const hn::Repartition<double, F32> pairs;
  const auto pair = [&](VF x) HWY_ATTR { return hn::BitCast(pairs, x); };
  const auto a = pair(hn::InterleaveLower(d, v[0], v[1]));
  const auto b = pair(hn::InterleaveUpper(d, v[0], v[1]));
  const auto e = pair(hn::InterleaveLower(d, v[2], v[3]));
  const auto f = pair(hn::InterleaveUpper(d, v[2], v[3]));
  v[0] = hn::BitCast(d, hn::InterleaveLower(pairs, a, e));
  v[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, a, e));
  v[2] = hn::BitCast(d, hn::InterleaveLower(pairs, b, f));
  v[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, b, f));
}

// v[0], v[step], ... as a matrix of as many runs of four lanes: transposed.
HWY_INLINE void TransposeRuns(VF* v) {
  const F32 d;
  constexpr int64_t step = 4;
  if constexpr (kLanes == 8) {
    const VF low = hn::ConcatLowerLower(d, v[step], v[0]);
    v[step] = hn::ConcatUpperUpper(d, v[step], v[0]);
    v[0] = low;
  } else if constexpr (kLanes == 16) {
    const VF a = hn::ConcatLowerLower(d, v[2 * step], v[0]);
    const VF b = hn::ConcatLowerLower(d, v[3 * step], v[step]);
    const VF e = hn::ConcatUpperUpper(d, v[2 * step], v[0]);
    const VF f = hn::ConcatUpperUpper(d, v[3 * step], v[step]);
    v[0] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a);
    v[step] = hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a));
    v[2 * step] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(f), e);
    v[3 * step] = hn::OddEvenBlocks(f, hn::SwapAdjacentBlocks(e));
  }
}

// out[c, r] = in[r, c] of a square of kLanes. Each row is read once, so that rows that meet in few
// sets of the cache are no slower.
HWY_INLINE void TransposeSquare(const float* in, int64_t in_stride, float* out,
                                int64_t out_stride) {
  // Of a square further on in the same rows: there are more of them than the processor follows.
  constexpr int64_t kAhead = 48;
  for (int64_t r = 0; r < kLanes; ++r) __builtin_prefetch(in + r * in_stride + kAhead);
  VF v[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) v[r] = LoadV(in + r * in_stride);
  for (int64_t r = 0; r < kLanes; r += 4) TransposeQuads(v + r);
  for (int64_t i = 0; i < 4; ++i) TransposeRuns(v + i);
  for (int64_t c = 0; c < kLanes; ++c) StoreV(v[c], out + c * out_stride);
}

HWY_INLINE void TransposeMatrix(int64_t rows, int64_t columns, const float* in, int64_t in_stride,
                                float* out, int64_t out_stride) {
  const int64_t whole_rows = rows / kLanes * kLanes, whole_columns = columns / kLanes * kLanes;
  const auto one_by_one = [&](int64_t r, int64_t begin) {
    for (int64_t c = begin; c < columns; ++c) out[c * out_stride + r] = in[r * in_stride + c];
  };
  for (int64_t r = 0; r < whole_rows; r += kLanes) {
    for (int64_t c = 0; c < whole_columns; c += kLanes) {
      TransposeSquare(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
    }
    for (int64_t i = r; i < r + kLanes; ++i) one_by_one(i, whole_columns);
  }
  for (int64_t r = whole_rows; r < rows; ++r) one_by_one(r, 0);
}

}  // namespace
}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
