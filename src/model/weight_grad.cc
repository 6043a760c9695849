#include "model/weight_grad.h"

namespace ds::model {
namespace {

constexpr int64_t kParts = 2;

// Both halves are written and read again: worth it where they are small beside what need not cross
// from core to core, half of each operand.
bool IsInParts(const kernels::GemmShape& shape) {
  constexpr int64_t kLeastRows = 256;
  return shape.k >= kLeastRows && 4 * shape.m * shape.n <= shape.k * (shape.m + shape.n);
}

}  // namespace

kernels::GemmShape WeightGradShape(int64_t rows, int64_t m, int64_t lda, int64_t n, int64_t ldb,
                                   DType dtype) {
  return {.m = m,
          .n = n,
          .k = rows,
          .lda = lda,
          .ldb = ldb,
          .ldc = n,
          .trans_a = true,
          .in = dtype,
          .out = dtype};
}

int64_t WeightGradFloats(const kernels::GemmShape& shape) {
  return IsInParts(shape) ? kParts * shape.m * shape.n : 0;
}

void WeightGrad(const Compute& compute, const kernels::GemmShape& shape, const void* a,
                const void* b, void* dw, float* scratch) {
  if (!IsInParts(shape)) return Matmul(compute.gemm, compute.lane, shape, a, b, dw);
  MatmulInParts(compute.gemm, compute.lane, shape, kParts, a, b, scratch);
  compute.ops.sum_parts(compute.lane, kParts, shape.m * shape.n, shape.accumulate, scratch, dw);
}

}  // namespace ds::model
