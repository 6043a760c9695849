// Attention of one new token to the keys and values of the tokens before it, for generation. Not
// for training: no gradient, batch 1.
#pragma once

#include <cstdint>

#include "device/lane.h"
#include "tensor/dtype.h"

namespace ds::model {

struct KvCache {
  void *keys, *values;  // [context, C], of the model's dtype
  float* scores;        // scratch, [heads, context]
  int64_t context;
};

// Stores keys and values of `tokens` rows of qkv [tokens, 3, C] behind the `past` that are there.
void AppendToCache(const device::Lane& lane, DType dtype, int64_t tokens, int64_t past,
                   int64_t width, const void* qkv, const KvCache& cache);
// out [C]: the query of the one row of qkv [1, 3, C] over `length` cached tokens, itself the last.
void AttendToCache(const device::Lane& lane, DType dtype, int64_t length, int64_t heads,
                   int64_t head_dim, const void* qkv, const KvCache& cache, void* out);

}  // namespace ds::model
