// Keys and values of the tokens of a sequence, kept by a layer so that generating the next one
// computes that one alone.
#pragma once

#include <cstdint>

#include "device/lane.h"
#include "kernels/ops.h"
#include "tensor/dtype.h"

namespace ds::model {

struct KvCache {
  void *keys = nullptr, *values = nullptr;  // [context, K D], of the model's dtype
  float* scores = nullptr;                  // scratch, [H, context]
};

// Stores keys and values of the rows of qkv (kernels/ops.h; one sequence) behind the `past` that
// are there.
void AppendToCache(const device::Lane& lane, DType dtype, const kernels::AttentionShape& shape,
                   int64_t past, const void* qkv, const KvCache& cache);

}  // namespace ds::model
