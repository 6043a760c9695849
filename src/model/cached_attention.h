// Attention of one new token to the keys and values of the tokens before it, for generation. Not
// for training: no gradient, batch 1.
#pragma once

#include <cstdint>

#include "device/lane.h"
#include "kernels/ops.h"
#include "tensor/dtype.h"

namespace ds::model {

struct KvCache {
  void *keys, *values;  // [context, K D], of the model's dtype
  float* scores;        // scratch, [H, context]
  int64_t context;
};

// Stores keys and values of the rows of qkv (kernels/ops.h; one sequence) behind the `past` that
// are there.
void AppendToCache(const device::Lane& lane, DType dtype, const kernels::AttentionShape& shape,
                   int64_t past, const void* qkv, const KvCache& cache);
// out [H D]: the query of the one row of qkv over the cached tokens [first, length), itself the
// last.
void AttendToCache(const device::Lane& lane, DType dtype, const kernels::AttentionShape& shape,
                   int64_t first, int64_t length, const void* qkv, const KvCache& cache, void* out);

}  // namespace ds::model
