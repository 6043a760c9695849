#include "kernels/simd/simd.h"

namespace ds::kernels::simd {

void FillSimd(Level level, Rows& rows) {
  FillElementwise(level, rows);
  FillNorm(level, rows);
  FillEmbedding(level, rows);
  FillDropout(level, rows);
  FillLoss(level, rows);
  FillAttention(level, rows);
  FillCachedAttention(level, rows);
  FillOptimizer(level, rows);
  FillUpdate(level, rows);
}

}  // namespace ds::kernels::simd
