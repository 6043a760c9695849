// How fast this machine multiplies matrices: what other speeds are measured by.
#pragma once

#include "base/task_pool.h"
#include "kernels/gemm.h"

namespace ds::tool {

// Operations a second of square products, the best of those that fit the time (at least two).
double MatmulFlops(kernels::Gemm& gemm, TaskPool& pool, DType dtype, double seconds);

}  // namespace ds::tool
