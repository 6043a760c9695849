#include "kernels/simd/simd.h"

namespace ds::kernels::simd {

void FillSimd(Level level, Ops& f32, Ops& bf16) {
  FillElementwise(level, f32, bf16);
  FillNorm(level, f32, bf16);
  FillEmbedding(level, f32, bf16);
  FillLoss(level, f32, bf16);
  FillAttention(level, f32, bf16);
  FillOptimizer(level, f32, bf16);
  FillUpdate(level, f32, bf16);
}

}  // namespace ds::kernels::simd
