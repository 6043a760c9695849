// The gradient of a weight: dW = X^T dY, a sum over the rows of a pass.
//
// A core that computes a piece of W needs the pieces of all rows, half of which another core wrote.
// Where rows are many for the size of W, each half of the rows is summed by itself, by the core
// that wrote them, and the two sums are added. The shape alone decides, so bits do not depend on
// threads.
#pragma once

#include "model/param_use.h"

namespace ds::model {

// [m, n] = A^T B of two arrays of `rows` rows, which lie lda and ldb apart.
kernels::GemmShape WeightGradShape(int64_t rows, int64_t m, int64_t lda, int64_t n, int64_t ldb,
                                   DType dtype);

// Floats of scratch for the gradient of this shape, which is [m, n] = A^T B with trans_a and ldc ==
// n; 0 where the rows are summed at once. It does not fall as k grows.
int64_t WeightGradFloats(const kernels::GemmShape& shape);

// dw (+)= A^T B, by shape.accumulate.
void WeightGrad(const Compute& compute, const kernels::GemmShape& shape, const void* a,
                const void* b, void* dw, float* scratch);

}  // namespace ds::model
