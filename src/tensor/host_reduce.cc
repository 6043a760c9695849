#include "tensor/host_reduce.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace ds {
namespace {

// Small enough that the sums stay in the first-level cache while every part streams past once.
constexpr int64_t kBlock = 1024;

// Of two in fp32, which need no place of their own for the sums. `out` may be one of them.
void ReduceTwo(float scale, const float* a, const float* b, int64_t n, float* out) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = (a[i] + b[i]) * scale;
}

template <typename T>
void Reduce(float scale, std::span<const void* const> parts, int64_t n, T* out) {
  if constexpr (std::is_same_v<T, float>) {
    if (parts.size() == 2) {
      return ReduceTwo(scale, static_cast<const T*>(parts[0]), static_cast<const T*>(parts[1]), n,
                       out);
    }
  }
  float sum[kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = std::min(kBlock, n - begin);
    const T* a = static_cast<const T*>(parts[0]) + begin;
    if (parts.size() == 1) {
      for (int64_t i = 0; i < count; ++i) sum[i] = static_cast<float>(a[i]);
    } else {  // two at once: a pass less
      const T* b = static_cast<const T*>(parts[1]) + begin;
      for (int64_t i = 0; i < count; ++i) {
        sum[i] = static_cast<float>(a[i]) + static_cast<float>(b[i]);
      }
    }
    for (const void* part : parts.subspan(std::min<size_t>(2, parts.size()))) {
      const T* x = static_cast<const T*>(part) + begin;
      for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<float>(x[i]);
    }
    for (int64_t i = 0; i < count; ++i) out[begin + i] = T(sum[i] * scale);
  }
}

}  // namespace

void ReduceInOrder(DType dtype, float scale, std::span<const void* const> parts, int64_t n,
                   void* out) {
  if (parts.size() == 1 && scale == 1.0f) {  // a group of one
    if (out != parts[0]) std::memmove(out, parts[0], static_cast<size_t>(n) * DTypeBytes(dtype));
    return;
  }
  WithType(dtype, [&](auto type) { Reduce(scale, parts, n, static_cast<decltype(type)*>(out)); });
}

}  // namespace ds
