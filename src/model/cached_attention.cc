#include "model/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace ds::model {
namespace {

// Eight running sums, so that the compiler can use vectors without changing the order of a sum.
template <typename T>
float Dot(const T* a, const T* b, int64_t n) {
  float sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      sums[j] += static_cast<float>(a[i + j]) * static_cast<float>(b[i + j]);
    }
  }
  for (; i < n; ++i) sums[i % 8] += static_cast<float>(a[i]) * static_cast<float>(b[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

template <typename T>
void AttendHead(int64_t first, int64_t length, int64_t width, int64_t head_dim, const T* q,
                const T* keys, const T* values, float* scores, T* out) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t t = first; t < length; ++t) {
    scores[t] = scale * Dot(q, keys + t * width, head_dim);
    largest = std::max(largest, scores[t]);
  }
  float sum = 0;
  for (int64_t t = first; t < length; ++t) {
    scores[t] = std::exp(scores[t] - largest);
    sum += scores[t];
  }
  constexpr int64_t kPiece = 64;  // columns at a time, summed in fp32 on the stack
  for (int64_t begin = 0; begin < head_dim; begin += kPiece) {
    const int64_t columns = std::min(kPiece, head_dim - begin);
    float acc[kPiece] = {};
    for (int64_t t = first; t < length; ++t) {
      const T* row = values + t * width + begin;
      for (int64_t d = 0; d < columns; ++d) acc[d] += scores[t] * static_cast<float>(row[d]);
    }
    for (int64_t d = 0; d < columns; ++d) out[begin + d] = T(acc[d] / sum);
  }
}

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

template <typename T>
void Attend(TaskPool& pool, const kernels::AttentionShape& shape, int64_t first, int64_t length,
            int64_t context, const void* qkv, const void* keys, const void* values, float* scores,
            void* out) {
  pool.Run(shape.heads, [&](int64_t head, int) {
    const int64_t query = head * shape.head_dim;
    const int64_t key = head / (shape.heads / shape.kv_heads) * shape.head_dim;
    AttendHead(first, length, shape.kv_heads * shape.head_dim, shape.head_dim,
               static_cast<const T*>(qkv) + query, static_cast<const T*>(keys) + key,
               static_cast<const T*>(values) + key, scores + head * context,
               static_cast<T*>(out) + query);
  });
}

}  // namespace

void AppendToCache(const device::Lane& lane, DType dtype, const kernels::AttentionShape& shape,
                   int64_t past, const void* qkv, const KvCache& cache) {
  lane.Run(Append, dtype, shape, past, qkv, cache.keys, cache.values);
}

void AttendToCache(const device::Lane& lane, DType dtype, const kernels::AttentionShape& shape,
                   int64_t first, int64_t length, const void* qkv, const KvCache& cache,
                   void* out) {
  WithType(dtype, [&](auto type) {
    lane.Run(Attend<decltype(type)>, shape, first, length, cache.context, qkv, cache.keys,
             cache.values, cache.scores, out);
  });
}

}  // namespace ds::model
