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
#include "kernels/simd/dropout-inl.h"
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
  int64_t dim, stride;       // elements of a row, and between the rows of consecutive tokens in qkv
  const int32_t* first_key;  // of each query of the sequence; null: 0
  Dropout dropout;           // its row 0 is query 0 of the head
  int64_t tokens;            // of the sequence

  // Where the keys of a block of queries begin: on a border of blocks.
  int64_t FirstKey(int64_t query) const {
    return first_key == nullptr ? 0 : first_key[query] / kKeys * kKeys;
  }
  // What a query sees of the `keys` keys from `key` on, as columns [begin, end).
  int64_t SeenBegin(int64_t query, int64_t key) const {
    return first_key == nullptr ? 0 : std::max<int64_t>(0, first_key[query] - key);
  }

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

// Scratch of a lane: scores and their gradients, both as the products take them (fp32 only where
// dropout needs a second array), sums of a block of queries, and those of all keys.
struct AttentionScratch {
  float *scores, *dscores, *sums, *dk, *dv;
  void* narrow;

  static int64_t Bytes(int64_t tokens, int64_t dim) {
    const int64_t floats = 2 * kQueries * kKeys + kQueries * dim + 2 * tokens * dim;
    return (floats * 4 + kQueries * kKeys * 4 + 63) / 64 * 64;
  }
  AttentionScratch(void* base, int lane, int64_t tokens, int64_t dim) {
    scores = reinterpret_cast<float*>(static_cast<char*>(base) + lane * Bytes(tokens, dim));
    dscores = scores + kQueries * kKeys;
    narrow = dscores + kQueries * kKeys;
    sums = dscores + 2 * kQueries * kKeys;
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

// Columns of a row of a block of keys that its query sees: [begin, end), of `width`.
struct Seen {
  int64_t begin, end, width;
  bool all(int64_t c) const { return c >= begin && c + kLanes <= end; }
  bool none(int64_t c) const { return c + kLanes <= begin || c >= end; }
};

// v in the columns that are seen, else `other`; c is the column of the first lane.
HWY_INLINE VF Within(const Seen& seen, int64_t c, VF v, VF other) {
  if (seen.all(c)) return v;
  const F32 d;
  const auto lane = hn::Iota(d, static_cast<float>(c));
  const auto inside = hn::And(lane < hn::Set(d, static_cast<float>(seen.end)),
                              lane >= hn::Set(d, static_cast<float>(seen.begin)));
  return hn::IfThenElse(inside, v, other);
}

// p = exp(scale (s - most)) for the columns that are seen, else 0, and the running pair goes on.
// `keep`, where it is not null, is what each p counts in the sums. Returns what older sums are to
// be multiplied by. p may be s.
template <typename T>
HWY_INLINE float SoftmaxRow(const Seen& seen, float scale, const float* keep, const float* s, T* p,
                            Running& run) {
  const F32 d;
  if (seen.begin >= seen.end) {
    std::memset(static_cast<void*>(p), 0, seen.width * sizeof(T));
    return 1.0f;
  }
  VF most = hn::Set(d, run.most);
  for (int64_t c = seen.begin / kLanes * kLanes; c < seen.end; c += kLanes) {
    most = Within(seen, c, hn::Max(most, hn::Load(d, s + c)), most);
  }
  const float next = hn::GetLane(hn::MaxOfLanes(d, most));
  const VF factor = hn::Set(d, scale * kLog2E), shift = hn::Set(d, next * (scale * kLog2E));
  VF sum = hn::Zero(d);
  for (int64_t c = 0; c < seen.width; c += kLanes) {
    if (seen.none(c)) {
      StoreV(hn::Zero(d), p + c);
      continue;
    }
    const VF e = Within(seen, c, Exp2(hn::MulSub(hn::Load(d, s + c), factor, shift)), hn::Zero(d));
    sum = sum + e;
    StoreV(keep == nullptr ? e : e * hn::Load(d, keep + c), p + c);
  }
  const float shrink = std::exp((run.most - next) * scale);
  run.sum = run.sum * shrink + Sum(sum);
  run.most = next;
  return shrink;
}

HWY_INLINE Seen SeenBy(const Head& head, int64_t query, int64_t key, int64_t keys) {
  return {head.SeenBegin(query, key), std::min(keys, query + 1 - key), keys};
}

// The factors of a row of a block of keys, or null where nothing is dropped.
HWY_INLINE const float* Keep(const Head& head, int64_t query, int64_t key, int64_t keys,
                             float* factors) {
  if (!head.dropout.drops()) return nullptr;
  uint64_t group = head.dropout.GroupOf(query, head.tokens) +
                   static_cast<uint64_t>(key / Dropout::kPiece * Dropout::kGroups);
  for (int64_t c = 0; c < keys; c += Dropout::kPiece, group += Dropout::kGroups) {
    KeepFactors(head.dropout, group, factors + c);
  }
  return factors;
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
  alignas(64) float factors[kKeys];
  Running running[kQueries];
  const int64_t begin = head.FirstKey(first);
  for (int64_t key = begin; key < first + rows; key += kKeys) {
    const int64_t keys = std::min(kKeys, first + rows - key);
    head.Scores(rows, keys, q + first * head.stride, head.stride, k + key * head.stride,
                scratch.scores);
    for (int64_t r = 0; r < rows; ++r) {
      const float* keep = Keep(head, first + r, key, keys, factors);
      const float shrink = SoftmaxRow(SeenBy(head, first + r, key, keys), scale, keep,
                                      scratch.scores + r * kKeys, p + r * kKeys, running[r]);
      if (key == begin) continue;
      float* sums = scratch.sums + r * head.dim;
      Map(
          head.dim, sums, [&](VF x) HWY_ATTR { return x * hn::Set(d, shrink); }, sums);
    }
    head.Weighted(rows, keys, key > begin, p, v + key * head.stride, scratch.sums);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const VF norm = hn::Set(d, 1.0f / running[r].sum);
    Map(
        head.dim, out + (first + r) * out_stride, [&](VF x) HWY_ATTR { return x * norm; },
        scratch.sums + r * head.dim);
    lse[first + r] = running[r].most * scale + std::log(running[r].sum);
  }
}

// A head of a sequence: where its arrays begin, at token 0.
template <typename T>
HWY_INLINE Head HeadOf(Gemm& gemm, const AttentionShape& shape, const int32_t* first_key, int64_t b,
                       int64_t h) {
  Dropout dropout = shape.dropout;
  dropout.row += (b * shape.heads + h) * shape.tokens;
  return {gemm,
          DTypeOf<T>(),
          shape.head_dim,
          shape.row(),
          first_key == nullptr ? nullptr : first_key + b * shape.tokens,
          dropout,
          shape.tokens};
}

template <typename T>
void Forward(TaskPool& pool, Gemm& gemm, const AttentionShape& shape, const int32_t* first_key,
             const void* qkv_, void* out_, float* lse, void* scratch) {
  const int64_t width = shape.heads * shape.head_dim, blocks = CeilDiv(shape.tokens, kQueries);
  pool.Run(shape.batch * shape.heads * blocks, [&](int64_t task, int lane) HWY_ATTR {
    const int64_t of = task % (shape.batch * shape.heads);
    const int64_t b = of / shape.heads, h = of % shape.heads, t = shape.tokens;
    const int64_t first =
        (blocks - 1 - task / (shape.batch * shape.heads)) * kQueries;  // the longest first
    const T* row = static_cast<const T*>(qkv_) + b * t * shape.row();
    const T* k = row + (shape.heads + h / (shape.heads / shape.kv_heads)) * shape.head_dim;
    ForwardBlock(HeadOf<T>(gemm, shape, first_key, b, h),
                 AttentionScratch(scratch, lane, t, shape.head_dim), first,
                 std::min(kQueries, t - first), width, row + h * shape.head_dim, k,
                 k + shape.kv_heads * shape.head_dim,
                 static_cast<T*>(out_) + b * t * width + h * shape.head_dim, lse + of * t);
  });
}

// p = exp(scale s - lse) for the columns that are seen, else 0; wide and as the products take it.
// With dropout (p is then an array of its own) it is what p counts in the sums, and the wide one is
// negative where p was dropped.
template <typename T>
HWY_INLINE void Probabilities(const Seen& seen, float scale, float lse, const float* keep, float* s,
                              T* p) {
  const F32 d;
  const VF factor = hn::Set(d, scale * kLog2E), shift = hn::Set(d, lse * kLog2E);
  for (int64_t c = 0; c < seen.width; c += kLanes) {
    VF e = hn::Zero(d);
    if (!seen.none(c)) {
      e = Within(seen, c, Exp2(hn::MulSub(hn::Load(d, s + c), factor, shift)), hn::Zero(d));
    }
    if (keep != nullptr) {
      const VF factor_of = hn::Load(d, keep + c);
      hn::Store(hn::IfThenElse(factor_of > hn::Zero(d), e, hn::Neg(e)), d, s + c);
      StoreV(e * factor_of, p + c);
      continue;
    }
    hn::Store(e, d, s + c);
    if (sizeof(T) < sizeof(float)) StoreV(e, p + c);
  }
}

// ds = p (dp - delta) scale; ds may be dp. Behind the valid columns p is 0, and dp finite. With
// dropout, p as Probabilities leaves it, dp counts `kept` times or not at all.
template <typename T>
HWY_INLINE void ScoreGrads(int64_t width, float scale, float delta, const Dropout& dropout,
                           const float* p, const float* dp, T* ds) {
  const F32 d;
  const VF factor = hn::Set(d, scale), shift = hn::Set(d, delta);
  if (dropout.drops()) {
    const VF kept = hn::Set(d, dropout.factor);
    for (int64_t c = 0; c < width; c += kLanes) {
      const VF at = hn::Load(d, p + c);
      const VF counts = hn::IfThenElseZero(at > hn::Zero(d), hn::Load(d, dp + c) * kept);
      StoreV(hn::Abs(at) * factor * (counts - shift), ds + c);
    }
    return;
  }
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
  T* const p =
      head.dropout.drops() ? static_cast<T*>(scratch.narrow) : Narrow<T>(scratch, scratch.scores);
  T* const ds = Narrow<T>(scratch, scratch.dscores);
  alignas(64) float factors[kKeys];
  const T *q = x.q + first * head.stride, *dout = x.dout + first * x.stride;
  float delta[kQueries];
  for (int64_t r = 0; r < rows; ++r) {
    delta[r] = Dot(head.dim, x.out + (first + r) * x.stride, dout + r * x.stride);
  }
  const int64_t begin = head.FirstKey(first);
  for (int64_t key = begin; key < first + rows; key += kKeys) {
    const int64_t keys = std::min(kKeys, first + rows - key);
    const T *k = x.k + key * head.stride, *v = x.v + key * head.stride;
    head.Scores(rows, keys, q, head.stride, k, scratch.scores);
    for (int64_t r = 0; r < rows; ++r) {
      Probabilities(SeenBy(head, first + r, key, keys), scale, x.lse[first + r],
                    Keep(head, first + r, key, keys, factors), scratch.scores + r * kKeys,
                    p + r * kKeys);
    }
    head.Collected(rows, keys, p, dout, x.stride, scratch.dv + key * head.dim);
    head.Scores(rows, keys, dout, x.stride, v, scratch.dscores);
    for (int64_t r = 0; r < rows; ++r) {
      ScoreGrads(keys, scale, delta[r], head.dropout, scratch.scores + r * kKeys,
                 scratch.dscores + r * kKeys, ds + r * kKeys);
    }
    head.Collected(rows, keys, ds, q, head.stride, scratch.dk + key * head.dim);
    head.Weighted(rows, keys, key > begin, ds, k, scratch.sums);
  }
  for (int64_t r = 0; r < rows; ++r) {
    Map(
        head.dim, x.dq + (first + r) * head.stride, [](VF a) HWY_ATTR { return a; },
        scratch.sums + r * head.dim);
  }
}

// A task is a key head of a sequence with the queries that share it, one after the other.
template <typename T>
void Backward(TaskPool& pool, Gemm& gemm, const AttentionShape& shape, const int32_t* first_key,
              const void* qkv_, const void* out_, const float* lse, const void* dout_, void* dqkv_,
              void* base) {
  pool.Run(shape.batch * shape.kv_heads, [&](int64_t task, int lane) HWY_ATTR {
    const int64_t b = task / shape.kv_heads, kv = task % shape.kv_heads;
    const int64_t tokens = shape.tokens, dim = shape.head_dim, width = shape.heads * dim;
    const int64_t group = shape.heads / shape.kv_heads, to_value = shape.kv_heads * dim;
    const int64_t row = b * tokens * shape.row(), key = row + (shape.heads + kv) * dim;
    const AttentionScratch scratch(base, lane, tokens, dim);
    std::memset(scratch.dk, 0, 2 * tokens * dim * sizeof(float));
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const int64_t at = b * tokens * width + h * dim;
      const BackwardArrays<T> arrays{static_cast<const T*>(qkv_) + row + h * dim,
                                     static_cast<const T*>(qkv_) + key,
                                     static_cast<const T*>(qkv_) + key + to_value,
                                     static_cast<const T*>(out_) + at,
                                     static_cast<const T*>(dout_) + at,
                                     static_cast<T*>(dqkv_) + row + h * dim,
                                     lse + (b * shape.heads + h) * tokens,
                                     width};
      const Head head = HeadOf<T>(gemm, shape, first_key, b, h);
      for (int64_t first = 0; first < tokens; first += kQueries) {
        BackwardBlock(head, scratch, first, std::min(kQueries, tokens - first), arrays);
      }
    }
    const auto same = [](VF a) HWY_ATTR { return a; };
    T* const dk = static_cast<T*>(dqkv_) + key;
    for (int64_t t = 0; t < tokens; ++t) {
      Map(dim, dk + t * shape.row(), same, scratch.dk + t * dim);
      Map(dim, dk + t * shape.row() + to_value, same, scratch.dv + t * dim);
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
