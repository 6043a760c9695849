// Transposing fp32 matrices, for products that want an operand the other way round.
#pragma once

#include <cstdint>

namespace ds::kernels::simd {

// out[c, r] = in[r, c]; strides count elements between the starts of rows.
using TransposeFn = void (*)(int64_t rows, int64_t columns, const float* in, int64_t in_stride,
                             float* out, int64_t out_stride);
// For this machine; null: none is compiled for it.
TransposeFn Transpose();

}  // namespace ds::kernels::simd
