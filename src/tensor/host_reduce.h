// The sum over ranks on the host: fp32, in rank order, scaled and rounded once.
#pragma once

#include <span>

#include "tensor/dtype.h"

namespace ds {

// out[i] = scale * (parts[0][i] + parts[1][i] + ...) for i < n. `out` may be one of the parts.
void ReduceInOrder(DType dtype, float scale, std::span<const void* const> parts, int64_t n,
                   void* out);

}  // namespace ds
