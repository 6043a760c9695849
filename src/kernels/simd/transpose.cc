#include "kernels/simd/transpose.h"

#include "kernels/simd/level.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/transpose.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {

void TransposeOf(int64_t rows, int64_t columns, const float* in, int64_t in_stride, float* out,
                 int64_t out_stride) {
  TransposeMatrix(rows, columns, in, in_stride, out, out_stride);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

TransposeFn Transpose() {
  static const TransposeFn chosen =
      ChooseAt<TransposeFn>(BestLevel(), nullptr, DS_SIMD_TARGETS(simd, TransposeOf));
  return chosen;
}

}  // namespace ds::kernels::simd
#endif
