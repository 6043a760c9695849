// Products of a few rows, as decoding a token makes them: C is small, B is read once, and the
// memory sets the time. Not for more rows, which pay for packing (gemm.cc and the back ends).
#pragma once

#include "base/task_pool.h"
#include "kernels/gemm.h"

namespace ds::kernels::simd {

constexpr int64_t kFewRows = 4;

// The whole product of 1 to kFewRows rows, k > 0, over the pool. What a tile is, and the order of
// every sum, follow from the shape alone.
using FewRowsFn = void (*)(TaskPool& pool, const GemmShape& shape, const void* a, const void* b,
                           void* c);
// For this machine; null: nothing better than a tile of a back end.
FewRowsFn FewRows();

}  // namespace ds::kernels::simd
