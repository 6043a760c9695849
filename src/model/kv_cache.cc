#include "model/kv_cache.h"

#include <cstring>

namespace ds::model {
namespace {

void Append(TaskPool&, DType dtype, const kernels::AttentionShape& shape, int64_t past,
            const void* qkv, void* keys, void* values) {
  const auto element = static_cast<int64_t>(DTypeBytes(dtype));
  const auto bytes = static_cast<size_t>(shape.kv_heads * shape.head_dim * element);
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const std::byte* key = static_cast<const std::byte*>(qkv) +
                           (t * shape.row() + shape.heads * shape.head_dim) * element;
    const size_t at = bytes * static_cast<size_t>(past + t);
    std::memcpy(static_cast<std::byte*>(keys) + at, key, bytes);
    std::memcpy(static_cast<std::byte*>(values) + at, key + bytes, bytes);
  }
}

}  // namespace

void AppendToCache(const device::Lane& lane, DType dtype, const kernels::AttentionShape& shape,
                   int64_t past, const void* qkv, const KvCache& cache) {
  lane.Run(Append, dtype, shape, past, qkv, cache.keys, cache.values);
}

}  // namespace ds::model
