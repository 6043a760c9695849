// Causal attention in tiles (Dao et al., "FlashAttention", 2022): blocks of queries against blocks
// of keys, with the products from the matrix back end and a softmax that is corrected as keys come.
// The blocks are fixed by the shape and each sum goes through them in order.
//
// Forward is a task a block of queries. Backward is a task a head: dK and dV collect over the
// queries in fp32 scratch of the task, linear in T, which costs two products less than going
// through the pairs of blocks a second time.
#include <cmath>
#include <limits>

#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

#ifndef DS_KERNELS_SIMD_ATTENTION_ONCE
#define DS_KERNELS_SIMD_ATTENTION_ONCE
namespace ds::kernels::simd {

// What a block leaves above the diagonal grows with kQueries, the share of packing in a product
// with 1 / kQueries; kKeys scores of kQueries rows stay in the second-level cache.
constexpr int64_t kQueries = 64, kKeys = 256;

// One head of one sequence, and the products over it.
struct Head {
  Gemm& gemm;
  DType dtype;
  int64_t dim, stride;  // elements of a row, and between the rows of consecutive tokens in qkv

  // s[m, n] = q k^T, rows of kKeys
  void Scores(int64_t m, int64_t n, const void* q, int64_t ldq, const void* k, float* s) const {
    gemm.Tile({.m = m,
               .n = n,
               .k = dim,
               .lda = ldq,
               .ldb = stride,
               .ldc = kKeys,
               .trans_b = true,
               .in = dtype},
              q, k, s);
  }
  // acc[m, dim] (+)= p x, p [m, n] in rows of kKeys
  void Weighted(int64_t m, int64_t n, bool accumulate, const void* p, const void* x,
                float* acc) const {
    gemm.Tile({.m = m,
               .n = dim,
               .k = n,
               .lda = kKeys,
               .ldb = stride,
               .ldc = dim,
               .accumulate = accumulate,
               .in = dtype},
              p, x, acc);
  }
  // acc[n, dim] += p^T x, p [m, n] in rows of kKeys
  void Collected(int64_t m, int64_t n, const void* p, const void* x, int64_t ldx,
                 float* acc) const {
    gemm.Tile({.m = n,
               .n = dim,
               .k = m,
               .lda = kKeys,
               .ldb = ldx,
               .ldc = dim,
               .trans_a = true,
               .accumulate = true,
               .in = dtype},
              p, x, acc);
  }
};

// Scratch of a lane: scores and their gradients, both as the products take them, sums of a block of
// queries, and those of all keys.
struct AttentionScratch {
  float *scores, *dscores, *sums, *dk, *dv;
  void* narrow;

  static int64_t Bytes(int64_t tokens, int64_t dim) {
    const int64_t floats = 2 * kQueries * kKeys + kQueries * dim + 2 * tokens * dim;
    return (floats * 4 + kQueries * kKeys * 2 + 63) / 64 * 64;
  }
  AttentionScratch(void* base, int lane, int64_t tokens, int64_t dim) {
    scores = reinterpret_cast<float*>(static_cast<char*>(base) + lane * Bytes(tokens, dim));
    dscores = scores + kQueries * kKeys;
    narrow = dscores + kQueries * kKeys;
    sums = dscores + kQueries * kKeys + kQueries * kKeys / 2;
    dk = sums + kQueries * dim;
    dv = dk + tokens * dim;
  }
};

inline int64_t ScratchBytes(const TaskPool& pool, int64_t tokens, int64_t dim) {
  return pool.threads() * AttentionScratch::Bytes(tokens, dim);
}

}  // namespace ds::kernels::simd
#endif

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// Of the keys so far: the largest score, and the sum of exp(scale (score - most)).
struct Running {
  float most = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

// v where the column is below `valid`, else zero; c is that of the first lane.
HWY_INLINE VF Within(int64_t c, int64_t valid, VF v) {
  if (c + kLanes <= valid) return v;
  const F32 d;
  const auto lane = hn::Iota(d, static_cast<float>(c));
  return hn::IfThenElseZero(lane < hn::Set(d, static_cast<float>(valid)), v);
}

// p = exp(scale (s - most)) for the first `valid` of `width` columns, 0 after them, and the running
// pair goes on. Returns what older sums are to be multiplied by. p may be s.
template <typename T>
HWY_INLINE float SoftmaxRow(int64_t valid, int64_t width, float scale, const float* s, T* p,
                            Running& run) {
  const F32 d;
  VF most = hn::Set(d, run.most);
  int64_t c = 0;
  for (; c + kLanes <= valid; c += kLanes) most = hn::Max(most, hn::Load(d, s + c));
  if (c < valid) {
    const VF lane = hn::Iota(d, static_cast<float>(c));
    most = hn::IfThenElse(lane < hn::Set(d, static_cast<float>(valid)),
                          hn::Max(most, hn::Load(d, s + c)), most);
  }
  const float next = hn::GetLane(hn::MaxOfLanes(d, most));
  const VF factor = hn::Set(d, scale * kLog2E), shift = hn::Set(d, next * (scale * kLog2E));
  VF sum = hn::Zero(d);
  for (c = 0; c < width; c += kLanes) {
    if (c >= valid) {
      StoreV(hn::Zero(d), p + c);
      continue;
    }
    const VF e = Within(c, valid, Exp2(hn::MulSub(hn::Load(d, s + c), factor, shift)));
    sum = sum + e;
    StoreV(e, p + c);
  }
  const float shrink = std::exp((run.most - next) * scale);
  run.sum = run.sum * shrink + Sum(sum);
  run.most = next;
  return shrink;
}

template <typename T>
HWY_INLINE T* Narrow(AttentionScratch& scratch, float* wide) {
  return sizeof(T) == sizeof(float) ? reinterpret_cast<T*>(wide) : static_cast<T*>(scratch.narrow);
}

// Queries [first, first + rows) of a head: q, k, v are those of its token 0.
template <typename T>
HWY_INLINE void ForwardBlock(const Head& head, AttentionScratch scratch, int64_t first,
                             int64_t rows, int64_t out_stride, const T* q, const T* k, const T* v,
                             T* out, float* lse) {
  const F32 d;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head.dim));
  T* const p = Narrow<T>(scratch, scratch.scores);
  Running running[kQueries];
  for (int64_t key = 0; key < first + rows; key += kKeys) {
    const int64_t keys = std::min(kKeys, first + rows - key);
    head.Scores(rows, keys, q + first * head.stride, head.stride, k + key * head.stride,
                scratch.scores);
    for (int64_t r = 0; r < rows; ++r) {
      const float shrink = SoftmaxRow(std::min(keys, first + r + 1 - key), keys, scale,
                                      scratch.scores + r * kKeys, p + r * kKeys, running[r]);
      if (key == 0) continue;
      float* sums = scratch.sums + r * head.dim;
      Map(
          head.dim, sums, [&](VF x) HWY_ATTR { return x * hn::Set(d, shrink); }, sums);
    }
    head.Weighted(rows, keys, key > 0, p, v + key * head.stride, scratch.sums);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const VF norm = hn::Set(d, 1.0f / running[r].sum);
    Map(
        head.dim, out + (first + r) * out_stride, [&](VF x) HWY_ATTR { return x * norm; },
        scratch.sums + r * head.dim);
    lse[first + r] = running[r].most * scale + std::log(running[r].sum);
  }
}

template <typename T>
void Forward(TaskPool& pool, Gemm& gemm, int64_t batch, int64_t tokens, int64_t heads, int64_t dim,
             const void* qkv_, void* out_, float* lse, void* scratch) {
  const int64_t width = heads * dim, blocks = CeilDiv(tokens, kQueries);
  const Head head{gemm, DTypeOf<T>(), dim, 3 * width};
  pool.Run(batch * heads * blocks, [&](int64_t task, int lane) HWY_ATTR {
    const int64_t of = task % (batch * heads), b = of / heads, h = of % heads;
    const int64_t first = (blocks - 1 - task / (batch * heads)) * kQueries;  // the longest first
    const T* q = static_cast<const T*>(qkv_) + b * tokens * 3 * width + h * dim;
    ForwardBlock(head, AttentionScratch(scratch, lane, tokens, dim), first,
                 std::min(kQueries, tokens - first), width, q, q + width, q + 2 * width,
                 static_cast<T*>(out_) + b * tokens * width + h * dim, lse + of * tokens);
  });
}

// p = exp(scale s - lse) for the first `valid` columns, 0 after; wide and as the products take it.
template <typename T>
HWY_INLINE void Probabilities(int64_t valid, int64_t width, float scale, float lse, float* s,
                              T* p) {
  const F32 d;
  const VF factor = hn::Set(d, scale * kLog2E), shift = hn::Set(d, lse * kLog2E);
  for (int64_t c = 0; c < width; c += kLanes) {
    VF e = hn::Zero(d);
    if (c < valid) e = Within(c, valid, Exp2(hn::MulSub(hn::Load(d, s + c), factor, shift)));
    hn::Store(e, d, s + c);
    if (sizeof(T) < sizeof(float)) StoreV(e, p + c);
  }
}

// ds = p (dp - delta) scale; ds may be dp. Behind the valid columns p is 0, and dp finite.
template <typename T>
HWY_INLINE void ScoreGrads(int64_t width, float scale, float delta, const float* p, const float* dp,
                           T* ds) {
  const F32 d;
  const VF factor = hn::Set(d, scale), shift = hn::Set(d, delta);
  for (int64_t c = 0; c < width; c += kLanes) {
    const VF grad = hn::Load(d, p + c) * factor * (hn::Load(d, dp + c) - shift);
    StoreV(grad, ds + c);
  }
}

template <typename T>
HWY_INLINE float Dot(int64_t n, const T* a, const T* b) {
  VF sum = hn::Zero(F32());
  ForVectors(
      n, [&](int64_t i) HWY_ATTR { sum = hn::MulAdd(LoadV(a + i), LoadV(b + i), sum); },
      [&](int64_t i, int64_t part)
          HWY_ATTR { sum = hn::MulAdd(LoadPart(a + i, part), LoadPart(b + i, part), sum); });
  return Sum(sum);
}

// The arrays of a head, at its token 0; out and dout have rows of `stride`.
template <typename T>
struct BackwardArrays {
  const T *q, *k, *v, *out, *dout;
  T* dq;
  const float* lse;
  int64_t stride;
};

template <typename T>
HWY_INLINE void BackwardBlock(const Head& head, AttentionScratch scratch, int64_t first,
                              int64_t rows, const BackwardArrays<T>& x) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head.dim));
  T* const p = Narrow<T>(scratch, scratch.scores);
  T* const ds = Narrow<T>(scratch, scratch.dscores);
  const T *q = x.q + first * head.stride, *dout = x.dout + first * x.stride;
  float delta[kQueries];
  for (int64_t r = 0; r < rows; ++r) {
    delta[r] = Dot(head.dim, x.out + (first + r) * x.stride, dout + r * x.stride);
  }
  for (int64_t key = 0; key < first + rows; key += kKeys) {
    const int64_t keys = std::min(kKeys, first + rows - key);
    const T *k = x.k + key * head.stride, *v = x.v + key * head.stride;
    head.Scores(rows, keys, q, head.stride, k, scratch.scores);
    for (int64_t r = 0; r < rows; ++r) {
      Probabilities(std::min(keys, first + r + 1 - key), keys, scale, x.lse[first + r],
                    scratch.scores + r * kKeys, p + r * kKeys);
    }
    head.Collected(rows, keys, p, dout, x.stride, scratch.dv + key * head.dim);
    head.Scores(rows, keys, dout, x.stride, v, scratch.dscores);
    for (int64_t r = 0; r < rows; ++r) {
      ScoreGrads(keys, scale, delta[r], scratch.scores + r * kKeys, scratch.dscores + r * kKeys,
                 ds + r * kKeys);
    }
    head.Collected(rows, keys, ds, q, head.stride, scratch.dk + key * head.dim);
    head.Weighted(rows, keys, key > 0, ds, k, scratch.sums);
  }
  for (int64_t r = 0; r < rows; ++r) {
    Map(
        head.dim, x.dq + (first + r) * head.stride, [](VF a) HWY_ATTR { return a; },
        scratch.sums + r * head.dim);
  }
}

template <typename T>
void Backward(TaskPool& pool, Gemm& gemm, int64_t batch, int64_t tokens, int64_t heads, int64_t dim,
              const void* qkv_, const void* out_, const float* lse, const void* dout_, void* dqkv_,
              void* base) {
  const int64_t width = heads * dim;
  const Head head{gemm, DTypeOf<T>(), dim, 3 * width};
  pool.Run(batch * heads, [&](int64_t of, int lane) HWY_ATTR {
    const int64_t in = of / heads * tokens * 3 * width + of % heads * dim;
    const int64_t at = of / heads * tokens * width + of % heads * dim;
    const T* q = static_cast<const T*>(qkv_) + in;
    T* dq = static_cast<T*>(dqkv_) + in;
    const AttentionScratch scratch(base, lane, tokens, dim);
    std::memset(scratch.dk, 0, 2 * tokens * dim * sizeof(float));
    const BackwardArrays<T> arrays{q,
                                   q + width,
                                   q + 2 * width,
                                   static_cast<const T*>(out_) + at,
                                   static_cast<const T*>(dout_) + at,
                                   dq,
                                   lse + of * tokens,
                                   width};
    for (int64_t first = 0; first < tokens; first += kQueries) {
      BackwardBlock(head, scratch, first, std::min(kQueries, tokens - first), arrays);
    }
    const auto same = [](VF a) HWY_ATTR { return a; };
    for (int64_t t = 0; t < tokens; ++t) {
      Map(dim, dq + t * head.stride + width, same, scratch.dk + t * dim);
      Map(dim, dq + t * head.stride + 2 * width, same, scratch.dv + t * dim);
    }
  });
}

template <typename T>
void FillRow(Ops& ops) {
  ops.attention_forward = Forward<T>;
  ops.attention_backward = Backward<T>;
  ops.attention_scratch_bytes = ScratchBytes;
}

}  // namespace

void AttentionRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillAttention(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, AttentionRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
