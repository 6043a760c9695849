// Attention of one new token to the keys and values of those before it: a task a head. It reads all
// of them once, and the memory sets the time.
#include <cmath>
#include <limits>

#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/cached_attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// What a head sees: tokens [first, length), whose rows lie `row` elements apart.
struct Cached {
  int64_t first, length, row, dim;
};

// The rows of a head are short and far apart: no prefetcher guesses them.
template <typename T>
HWY_INLINE void FetchAhead(const Cached& at, const T* rows, int64_t t, int64_t begin, int64_t end) {
  constexpr int64_t kAhead = 16, kLine = 64 / sizeof(T);
  if (t + kAhead >= at.length) return;
  for (int64_t c = begin; c < end; c += kLine) __builtin_prefetch(rows + (t + kAhead) * at.row + c);
}

// scores[t...] = scale q k for N tokens.
template <int N, typename T>
HWY_INLINE void Scores(const Cached& at, float scale, int64_t t, const T* q, const T* keys,
                       float* scores) {
  const T* const k = keys + t * at.row;
  VF sums[N];
  for (VF& sum : sums) sum = hn::Zero(F32());
  ForVectors(
      at.dim,
      [&](int64_t i) HWY_ATTR {
        const VF x = LoadV(q + i);
        for (int n = 0; n < N; ++n) sums[n] = hn::MulAdd(x, LoadV(k + n * at.row + i), sums[n]);
      },
      [&](int64_t i, int64_t part) HWY_ATTR {
        const VF x = LoadPart(q + i, part);
        for (int n = 0; n < N; ++n) {
          sums[n] = hn::MulAdd(x, LoadPart(k + n * at.row + i, part), sums[n]);
        }
      });
  for (int n = 0; n < N; ++n) scores[t + n] = scale * Sum(sums[n]);
}

// x = exp(x - most(x)); returns their sum.
HWY_INLINE float Exponentials(int64_t n, float* x) {
  const F32 d;
  VF most = hn::Set(d, -std::numeric_limits<float>::infinity()), sum = hn::Zero(d);
  ForVectors(
      n, [&](int64_t i) HWY_ATTR { most = hn::Max(most, LoadV(x + i)); },
      [&](int64_t i, int64_t part) HWY_ATTR {
        most = hn::IfThenElse(hn::FirstN(d, part), hn::Max(most, LoadPart(x + i, part)), most);
      });
  // Subtracted first: exactly 0 for the largest, however large it is.
  const VF log2e = hn::Set(d, kLog2E), largest = hn::MaxOfLanes(d, most);
  const auto power = [&](VF v) HWY_ATTR { return Exp2((v - largest) * log2e); };
  ForVectors(
      n,
      [&](int64_t i) HWY_ATTR {
        const VF e = power(LoadV(x + i));
        sum = sum + e;
        StoreV(e, x + i);
      },
      [&](int64_t i, int64_t part) HWY_ATTR {
        const VF e = power(LoadPart(x + i, part));
        sum = sum + hn::IfThenElseZero(hn::FirstN(d, part), e);
        StorePart(e, x + i, part);
      });
  return Sum(sum);
}

// out[begin...] = norm p values, N vectors of columns or the `part` columns of one.
template <int N, typename T>
HWY_INLINE void Weighted(const Cached& at, float norm, int64_t begin, int64_t part, const float* p,
                         const T* values, T* out) {
  const F32 d;
  VF sums[N];
  for (VF& sum : sums) sum = hn::Zero(d);
  for (int64_t t = at.first; t < at.length; ++t) {
    const T* const v = values + t * at.row + begin;
    const VF weight = hn::Set(d, p[t]);
    FetchAhead(at, values, t, begin, begin + (part > 0 ? part : N * kLanes));
    for (int n = 0; n < N; ++n) {
      sums[n] = hn::MulAdd(weight, part > 0 ? LoadPart(v, part) : LoadV(v + n * kLanes), sums[n]);
    }
  }
  const VF factor = hn::Set(d, norm);
  for (int n = 0; n < N; ++n) {
    T* const to = out + begin + n * kLanes;
    part > 0 ? StorePart(sums[n] * factor, to, part) : StoreV(sums[n] * factor, to);
  }
}

template <typename T>
HWY_INLINE void AttendHead(const Cached& at, const T* q, const T* keys, const T* values,
                           float* scores, T* out) {
  constexpr int kTokens = 4, kVectors = 4;  // at once
  const float scale = 1.0f / std::sqrt(static_cast<float>(at.dim));
  int64_t t = at.first;
  for (; t + kTokens <= at.length; t += kTokens) {
    for (int i = 0; i < kTokens; ++i) FetchAhead(at, keys, t + i, 0, at.dim);
    Scores<kTokens>(at, scale, t, q, keys, scores);
  }
  for (; t < at.length; ++t) Scores<1>(at, scale, t, q, keys, scores);
  const float norm = 1.0f / Exponentials(at.length - at.first, scores + at.first);
  int64_t c = 0;
  for (; c + kVectors * kLanes <= at.dim; c += kVectors * kLanes) {
    Weighted<kVectors>(at, norm, c, 0, scores, values, out);
  }
  for (; c < at.dim; c += kLanes) {
    const int64_t left = at.dim - c;
    Weighted<1>(at, norm, c, left < kLanes ? left : 0, scores, values, out);
  }
}

template <typename T>
void Attend(TaskPool& pool, const AttentionShape& shape, int64_t first, int64_t length,
            const void* q_, const void* keys_, const void* values_, float* scores, void* out_) {
  const T *q = static_cast<const T*>(q_), *keys = static_cast<const T*>(keys_);
  const T* values = static_cast<const T*>(values_);
  T* out = static_cast<T*>(out_);
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  const Cached at = {first, length, shape.kv_heads * dim, dim};
  pool.Run(shape.heads, [&](int64_t h, int) HWY_ATTR {
    const int64_t key = h / group * dim;
    AttendHead(at, q + h * dim, keys + key, values + key, scores + h * length, out + h * dim);
  });
}

}  // namespace

void CachedAttentionRows(Rows& rows) {
  rows.f32.attention_cached = Attend<float>;
  rows.bf16.attention_cached = Attend<BF16>;
  rows.f16.attention_cached = Attend<F16>;
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillCachedAttention(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, CachedAttentionRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
