#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

double At(DType dtype, const void* x, int64_t i) {
  return WithType(dtype, [&](auto type) { return Load<decltype(type)>(x, i); });
}

}  // namespace

void GemmTile(const GemmShape& s, const void* a, const void* b, void* c) {
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = s.accumulate ? At(s.out, c, i * s.ldc + j) : 0.0;
      for (int64_t k = 0; k < s.k; ++k) {
        sum += At(s.in, a, s.trans_a ? k * s.lda + i : i * s.lda + k) *
               At(s.in, b, s.trans_b ? j * s.ldb + k : k * s.ldb + j);
      }
      WithType(s.out, [&](auto type) { Store<decltype(type)>(c, i * s.ldc + j, sum); });
    }
  }
}

}  // namespace ds::kernels::ref
