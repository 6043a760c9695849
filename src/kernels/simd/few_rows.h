// Products of a few rows, as decoding a token makes them: C is small, B is read once, and the
// memory sets the time. Not for more rows, which pay for packing (gemm.cc and the back ends).
#pragma once

#include "base/task_pool.h"
#include "kernels/gemm.h"

namespace ds::kernels::simd {

// A whole product over the pool. What a tile is, and the order of every sum, follow from the shape
// alone.
using FewRowsFn = void (*)(TaskPool& pool, const GemmShape& shape, const void* a, const void* b,
                           void* c);
// For products like this one on this machine; null: it has no or too many rows, or k is 0, and
// nothing here is better than the tiles of a back end.
FewRowsFn FewRows(const GemmShape& shape);

}  // namespace ds::kernels::simd
