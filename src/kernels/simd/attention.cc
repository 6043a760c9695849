// Causal attention in tiles (Dao et al., "FlashAttention", 2022): blocks of queries against blocks
// of keys, and a softmax that is corrected as keys come. The blocks are fixed by the shape and each
// sum goes through them in order. Products are the small ones of head_product-inl.h, in fp32; those
// of many 16-bit tokens are the matrix back end's, which may know the processor's own.
//
// Forward is a task a block of queries. Backward is a task a key head: dK and dV collect over the
// queries in fp32 scratch of the task, linear in T, which costs two products less than going
// through the pairs of blocks a second time. That is done where the heads are too few for the
// threads: first a task a block of queries for dQ, then one a block of keys for dK and dV, with the
// same products in the same order, and so the same bits.
#include <cmath>
#include <limits>

#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/attention_block-inl.h"
#include "kernels/simd/dropout-inl.h"
#include "kernels/simd/vec-inl.h"

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
  const VF factor = hn::Set(d, scale * kLog2E), largest = hn::Set(d, next);
  VF sum = hn::Zero(d);
  for (int64_t c = 0; c < seen.width; c += kLanes) {
    if (seen.none(c)) {
      StoreV(hn::Zero(d), p + c);
      continue;
    }
    // Subtracted first: exactly 0 for the largest, however large it is.
    const VF e = Within(seen, c, Exp2((hn::Load(d, s + c) - largest) * factor), hn::Zero(d));
    sum = sum + e;
    StoreV(keep == nullptr ? e : e * hn::Load(d, keep + c), p + c);
  }
  // The first keys have nothing to correct.
  const float shrink = run.sum == 0 ? 0.0f : std::exp((run.most - next) * scale);
  run.sum = run.sum * shrink + Sum(sum);
  run.most = next;
  return shrink;
}

// Row r of a block, of which `width` columns matter.
HWY_INLINE Seen SeenBy(const Head& head, const Block& block, int64_t r, int64_t width) {
  const int64_t query = block.first + r;
  return {head.SeenBegin(query, block.key), std::min(block.keys, query + 1 - block.key), width};
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

template <typename P>
HWY_INLINE P* Narrow(AttentionScratch& scratch, float* wide) {
  return sizeof(P) == sizeof(float) ? reinterpret_cast<P*>(wide) : static_cast<P*>(scratch.narrow);
}

// Queries [first, first + rows) of a head: q, k, v are those of its token 0.
template <typename Products, typename T>
void ForwardBlock(const Head& head, AttentionScratch scratch, int64_t first, int64_t rows,
                  int64_t out_stride, const T* q, const T* k, const T* v, T* out, float* lse) {
  const F32 d;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head.dim));
  const Products products(head, scratch);
  auto* const p = Narrow<typename Products::P>(scratch, scratch.scores);
  alignas(64) float factors[kKeys];
  Running running[kQueries];
  const int64_t begin = head.FirstKey(first);
  Block block{first, rows, begin, 0};
  const auto queries = products.QueryRows(0, block, q + first * head.stride, head.stride);
  for (; block.key < first + rows; block.key += kKeys) {
    block.keys = std::min(kKeys, first + rows - block.key);
    const auto keys = products.KeyRows(0, block, k + block.key * head.stride);
    products.Scores(block, queries, products.KeyColumns(0, block, keys), scratch.scores);
    for (int64_t r = 0; r < rows; ++r) {
      const float* keep = Keep(head, first + r, block.key, block.keys, factors);
      const Seen seen = SeenBy(head, block, r, products.Width(block, r));
      const float shrink =
          SoftmaxRow(seen, scale, keep, scratch.scores + r * kKeys, p + r * kKeys, running[r]);
      if (block.key == begin) continue;
      float* sums = scratch.sums + r * scratch.row;
      Map(
          head.dim, sums, [&](VF x) HWY_ATTR { return x * hn::Set(d, shrink); }, sums);
    }
    products.Weighted(block, block.key > begin, p,
                      products.KeyRows(1, block, v + block.key * head.stride), scratch.sums);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const VF norm = hn::Set(d, 1.0f / running[r].sum);
    Map(
        head.dim, out + (first + r) * out_stride, [&](VF x) HWY_ATTR { return x * norm; },
        scratch.sums + r * scratch.row);
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

// Calls fn.operator()<Products>() with those that are faster: of 16-bit elements, or widened to
// fp32.
template <typename T, typename Fn>
auto WithProducts(const AttentionShape& shape, const Fn& fn) {
  if constexpr (sizeof(T) < sizeof(float)) {
    if (shape.tokens >= kManyTokens) return fn.template operator()<GemmProducts<T>>();
  }
  return fn.template operator()<TileProducts<T>>();
}

template <typename T>
void Forward(TaskPool& pool, Gemm& gemm, const AttentionShape& shape, const int32_t* first_key,
             const void* qkv, void* out, float* lse, void* scratch) {
  const auto run_block =
      WithProducts<T>(shape, []<typename Products>() { return ForwardBlock<Products, T>; });
  const int64_t width = shape.heads * shape.head_dim, blocks = CeilDiv(shape.tokens, kQueries);
  pool.Run(shape.batch * shape.heads * blocks, [&](int64_t task, int lane) HWY_ATTR {
    const int64_t of = task % (shape.batch * shape.heads);
    const int64_t b = of / shape.heads, h = of % shape.heads, t = shape.tokens;
    const int64_t first =
        (blocks - 1 - task / (shape.batch * shape.heads)) * kQueries;  // the longest first
    const T* row = static_cast<const T*>(qkv) + b * t * shape.row();
    const T* k = row + (shape.heads + h / (shape.heads / shape.kv_heads)) * shape.head_dim;
    run_block(HeadOf<T>(gemm, shape, first_key, b, h),
              AttentionScratch(scratch, lane, t, shape.head_dim), first,
              std::min(kQueries, t - first), width, row + h * shape.head_dim, k,
              k + shape.kv_heads * shape.head_dim,
              static_cast<T*>(out) + b * t * width + h * shape.head_dim, lse + of * t);
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
      // At most 0 but for rounding, which large scores make large. NaN is the second and stays.
      const VF power = hn::Min(hn::Zero(d), hn::MulSub(hn::Load(d, s + c), factor, shift));
      e = Within(seen, c, Exp2(power), hn::Zero(d));
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

// The block that is next: its rows are fetched one by one while those of this block are worked on.
// Those of a head lie far apart, which no prefetcher guesses, and by now in no near cache.
template <typename T>
struct Ahead {
  const BackwardArrays<T>* of;  // null: there is none
  int64_t first;

  HWY_INLINE void Fetch(const Head& head, int64_t r) const {
    if (of == nullptr || first + r >= head.tokens) return;
    for (const T* array : {of->q, of->k, of->v}) Row(head.dim, array + (first + r) * head.stride);
    for (const T* array : {of->out, of->dout}) Row(head.dim, array + (first + r) * of->stride);
  }

 private:
  static HWY_INLINE void Row(int64_t dim, const T* row) {
    constexpr int64_t kLine = 64 / sizeof(T);
    for (int64_t c = 0; c < dim; c += kLine) __builtin_prefetch(row + c, /*rw=*/0, /*locality=*/2);
  }
};

// What a pass through the pairs of blocks is for.
enum class For { kAll, kQueries, kKeys };

// A block of queries against its blocks of keys [keys_begin, keys_end) of those that it sees.
template <typename Products, typename T>
void BackwardBlock(For purpose, const Head& head, AttentionScratch scratch, int64_t first,
                   int64_t rows, const BackwardArrays<T>& x, const Ahead<T>& ahead,
                   int64_t keys_begin, int64_t keys_end) {
  const int64_t begin = std::max(keys_begin, head.FirstKey(first));
  const int64_t end = std::min(keys_end, first + rows);
  if (begin >= end) return;  // keys of an earlier document
  const float scale = 1.0f / std::sqrt(static_cast<float>(head.dim));
  using P = typename Products::P;
  P* const p =
      head.dropout.drops() ? static_cast<P*>(scratch.narrow) : Narrow<P>(scratch, scratch.scores);
  P* const ds = Narrow<P>(scratch, scratch.dscores);
  alignas(64) float factors[kKeys];
  const T *q = x.q + first * head.stride, *dout = x.dout + first * x.stride;
  float delta[kQueries];
  for (int64_t r = 0; r < rows; ++r) {
    delta[r] = Dot(head.dim, x.out + (first + r) * x.stride, dout + r * x.stride);
  }
  const Products products(head, scratch);
  Block block{first, rows, begin, 0};
  const auto queries = products.QueryRows(0, block, q, head.stride);
  const auto grads = products.QueryRows(1, block, dout, x.stride);
  for (; block.key < end; block.key += kKeys) {
    const int64_t key = block.key, keys = std::min(kKeys, first + rows - key);
    block.keys = keys;
    const auto k = products.KeyRows(0, block, x.k + key * head.stride);
    const auto v = products.KeyRows(1, block, x.v + key * head.stride);
    products.Scores(block, queries, products.KeyColumns(0, block, k), scratch.scores);
    for (int64_t r = 0; r < rows; ++r) {
      if (key == begin) ahead.Fetch(head, r);
      const Seen seen = SeenBy(head, block, r, products.Width(block, r));
      Probabilities(seen, scale, x.lse[first + r], Keep(head, first + r, key, keys, factors),
                    scratch.scores + r * kKeys, p + r * kKeys);
    }
    if (purpose != For::kQueries) {
      products.Collected(block, p, grads, scratch.dv + key * scratch.row);
    }
    products.Scores(block, grads, products.KeyColumns(1, block, v), scratch.dscores);
    for (int64_t r = 0; r < rows; ++r) {
      ScoreGrads(products.Width(block, r), scale, delta[r], head.dropout,
                 scratch.scores + r * kKeys, scratch.dscores + r * kKeys, ds + r * kKeys);
    }
    if (purpose != For::kQueries) {
      products.Collected(block, ds, queries, scratch.dk + key * scratch.row);
    }
    if (purpose != For::kKeys) products.Weighted(block, key > begin, ds, k, scratch.sums);
  }
  for (int64_t r = 0; purpose != For::kKeys && r < rows; ++r) {
    Map(
        head.dim, x.dq + (first + r) * head.stride, [](VF a) HWY_ATTR { return a; },
        scratch.sums + r * scratch.row);
  }
}

template <typename T>
class BackwardPass {
 public:
  using BlockFn = decltype(&BackwardBlock<TileProducts<T>, T>);

  BackwardPass(BlockFn run_block, TaskPool& pool, Gemm& gemm, const AttentionShape& shape,
               const int32_t* first_key, const T* qkv, const T* out, const float* lse,
               const T* dout, T* dqkv, void* base)
      : run_block_(run_block),
        pool_(pool),
        gemm_(gemm),
        shape_(shape),
        first_key_(first_key),
        qkv_(qkv),
        out_(out),
        lse_(lse),
        dout_(dout),
        dqkv_(dqkv),
        base_(base) {}

  void Run() const {
    if (shape_.tokens == 0) return;
    // Two passes take up to 1.7 times as long as one (bench/attention): seven products for five,
    // and the probabilities twice.
    const int64_t heads = shape_.batch * shape_.kv_heads;
    const bool split = shape_.tokens > kKeys && 2 * heads <= pool_.threads();
    if (!split) return Heads();
    QueryBlocks();
    KeyBlocks();
  }

 private:
  // A task is a key head of a sequence with the queries that share it, one after the other.
  void Heads() const {
    pool_.Run(shape_.batch * shape_.kv_heads, [&](int64_t task, int lane) HWY_ATTR {
      const AttentionScratch scratch = Cleared(lane, 0, shape_.tokens);
      const int64_t group = shape_.heads / shape_.kv_heads;
      BackwardArrays<T> arrays = ArraysOf(task * group);
      for (int64_t index = task * group; index < (task + 1) * group; ++index) {
        const bool last = index + 1 == shape_.batch * shape_.heads;
        const BackwardArrays<T> next = last ? arrays : ArraysOf(index + 1);
        const Head head = HeadAt(index);
        for (int64_t first = 0; first < shape_.tokens; first += kQueries) {
          const int64_t end = std::min(first + kQueries, shape_.tokens);
          const Ahead<T> ahead =
              end < shape_.tokens ? Ahead<T>{&arrays, end} : Ahead<T>{last ? nullptr : &next, 0};
          run_block_(For::kAll, head, scratch, first, end - first, arrays, ahead, 0, shape_.tokens);
        }
        arrays = next;
      }
      StoreKeys(task, scratch, 0, shape_.tokens);
    });
  }

  void QueryBlocks() const {
    const int64_t heads = shape_.batch * shape_.heads, blocks = CeilDiv(shape_.tokens, kQueries);
    pool_.Run(heads * blocks, [&](int64_t task, int lane) HWY_ATTR {
      const int64_t first = (blocks - 1 - task / heads) * kQueries;  // the longest first
      const AttentionScratch scratch(base_, lane, shape_.tokens, shape_.head_dim);
      run_block_(For::kQueries, HeadAt(task % heads), scratch, first,
                 std::min(kQueries, shape_.tokens - first), ArraysOf(task % heads),
                 Ahead<T>{nullptr, 0}, 0, shape_.tokens);
    });
  }

  void KeyBlocks() const {
    const int64_t heads = shape_.batch * shape_.kv_heads, blocks = CeilDiv(shape_.tokens, kKeys);
    const int64_t group = shape_.heads / shape_.kv_heads;
    pool_.Run(heads * blocks, [&](int64_t task, int lane) HWY_ATTR {
      const int64_t of = task % heads, key = task / heads * kKeys;  // the longest first
      const int64_t end = std::min(key + kKeys, shape_.tokens);
      const AttentionScratch scratch = Cleared(lane, key, end);
      for (int64_t index = of * group; index < (of + 1) * group; ++index) {
        const Head head = HeadAt(index);
        const BackwardArrays<T> arrays = ArraysOf(index);
        for (int64_t first = key; first < shape_.tokens; first += kQueries) {
          run_block_(For::kKeys, head, scratch, first, std::min(kQueries, shape_.tokens - first),
                     arrays, Ahead<T>{nullptr, 0}, key, end);
        }
      }
      StoreKeys(of, scratch, key, end);
    });
  }

  int64_t KeyAt(int64_t b, int64_t kv) const {
    return b * shape_.tokens * shape_.row() + (shape_.heads + kv) * shape_.head_dim;
  }
  int64_t ToValue() const { return shape_.kv_heads * shape_.head_dim; }
  Head HeadAt(int64_t index) const {  // of a head among all
    return HeadOf<T>(gemm_, shape_, first_key_, index / shape_.heads, index % shape_.heads);
  }
  BackwardArrays<T> ArraysOf(int64_t index) const {
    const int64_t tokens = shape_.tokens, dim = shape_.head_dim, width = shape_.heads * dim;
    const int64_t b = index / shape_.heads, h = index % shape_.heads;
    const int64_t row = b * tokens * shape_.row() + h * dim;
    const int64_t key = KeyAt(b, h / (shape_.heads / shape_.kv_heads));
    const int64_t at = b * tokens * width + h * dim;
    return {qkv_ + row, qkv_ + key,  qkv_ + key + ToValue(), out_ + at,
            dout_ + at, dqkv_ + row, lse_ + index * tokens,  width};
  }

  // With nothing collected for the keys [begin, end).
  AttentionScratch Cleared(int lane, int64_t begin, int64_t end) const {
    const AttentionScratch scratch(base_, lane, shape_.tokens, shape_.head_dim);
    for (float* sums : {scratch.dk, scratch.dv}) {
      // Whole vectors of rows are written, also behind the last.
      const int64_t rows = end - begin + (end == shape_.tokens ? AttentionScratch::kRowStep : 0);
      std::memset(sums + begin * scratch.row, 0, rows * scratch.row * sizeof(float));
    }
    return scratch;
  }
  void StoreKeys(int64_t task, const AttentionScratch& scratch, int64_t begin, int64_t end) const {
    const auto same = [](VF a) HWY_ATTR { return a; };
    T* const dk = dqkv_ + KeyAt(task / shape_.kv_heads, task % shape_.kv_heads);
    for (int64_t t = begin; t < end; ++t) {
      Map(shape_.head_dim, dk + t * shape_.row(), same, scratch.dk + t * scratch.row);
      Map(shape_.head_dim, dk + t * shape_.row() + ToValue(), same, scratch.dv + t * scratch.row);
    }
  }

  const BlockFn run_block_;
  TaskPool& pool_;
  Gemm& gemm_;
  const AttentionShape& shape_;
  const int32_t* first_key_;
  const T *qkv_, *out_;
  const float* lse_;
  const T* dout_;
  T* dqkv_;
  void* base_;
};

template <typename T>
void Backward(TaskPool& pool, Gemm& gemm, const AttentionShape& shape, const int32_t* first_key,
              const void* qkv, const void* out, const float* lse, const void* dout, void* dqkv,
              void* base) {
  const auto run_block =
      WithProducts<T>(shape, []<typename Products>() { return BackwardBlock<Products, T>; });
  BackwardPass<T>(run_block, pool, gemm, shape, first_key, static_cast<const T*>(qkv),
                  static_cast<const T*>(out), lse, static_cast<const T*>(dout),
                  static_cast<T*>(dqkv), base)
      .Run();
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
