#include "kernels/simd/few_rows.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/simd/level.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/few_rows.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

#ifndef DS_KERNELS_SIMD_FEW_ROWS_ONCE
#define DS_KERNELS_SIMD_FEW_ROWS_ONCE
namespace ds::kernels::simd {

// Of B that a tile reads: a sixteenth of it, so that there are tiles to share, but not so little
// that the processor's own prefetching never gets going, nor more than it gains by.
constexpr int64_t TileBytes(int64_t bytes) {
  return std::clamp<int64_t>(bytes / 16, 64 << 10, 1 << 19);
}
// Rows of B [k, n] that a partial sum is over at least, so that writing it costs little.
constexpr int64_t kLeastDepth = 32;

// With more, packing B pays (measured on a Zen 4 against oneDNN); where B is [k, n] with AVX-512
// already with so many, as the partial sums outgrow the first-level cache.
constexpr int kMostRows = 6;
inline int64_t MostRows(bool trans_b) {
  return trans_b || BestLevel() < Level::kAvx512 ? kMostRows : kMostRows - 1;
}

// Of the thread that asks for the product: A widened, as Widen or Interleave lays it out, partial
// sums [parts, m, n], and, by the number of the right one, of which pairs of them one has come.
struct FewRowsScratch {
  std::vector<float> a, sums;
  std::vector<uint8_t> waits;
};

inline FewRowsScratch& ScratchOfThread() {
  thread_local FewRowsScratch scratch;
  return scratch;
}

// Adds up parts in pairs, pairs of pairs and so on, always the left before the right, each pair by
// the thread that comes last to it: no thread waits for another, and which comes last changes no
// sum. Calls add(left, right) for what ends with `part`; true for the one call that ends it all.
template <typename Add>
bool JoinParts(int64_t part, int64_t parts, uint8_t* waits, const Add& add) {
  for (int64_t span = 1; span < parts; span *= 2) {
    const int64_t left = part / (2 * span) * (2 * span), right = left + span;
    part = left;
    if (right >= parts) continue;
    if (std::atomic_ref(waits[right]).exchange(1, std::memory_order_acq_rel) == 0) return false;
    add(left, right);
  }
  return true;
}

}  // namespace ds::kernels::simd
#endif

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// What does not depend on the rows of A, or costs little, is compiled once for all numbers of them.
template <typename In>
HWY_NOINLINE void Widen(const GemmShape& s, const In* a, float* out) {
  for (int64_t i = 0; i < s.m; ++i, out += s.k) {
    if (!s.trans_a) {
      Map(
          s.k, out, [](VF v) HWY_ATTR { return v; }, a + i * s.lda);
      continue;
    }
    for (int64_t k = 0; k < s.k; ++k) out[k] = static_cast<float>(a[k * s.lda + i]);
  }
}

// A [m, k] widened, a vector of each row after the other: out[k / kLanes, i, k % kLanes], zeros
// behind the end. The rows themselves may lie so that they meet in few sets of the cache.
template <typename In>
HWY_NOINLINE void Interleave(const GemmShape& s, const In* a, float* out) {
  const int64_t along = s.trans_a ? s.lda : 1, down = s.trans_a ? 1 : s.lda;
  const F32 d;
  for (int64_t k = 0; k < s.k; k += kLanes) {
    const int64_t left = std::min(kLanes, s.k - k);
    for (int64_t i = 0; i < s.m; ++i, out += kLanes) {
      const In* const from = a + i * down + k * along;
      if (!s.trans_a) {
        StoreV(left == kLanes ? LoadV(from) : LoadPart(from, left), out);
        continue;
      }
      StoreV(hn::Zero(d), out);
      for (int64_t at = 0; at < left; ++at) out[at] = static_cast<float>(from[at * along]);
    }
  }
}

// Rows of B that meet M rows of A at once: they and the sums fit the registers, 32 of AVX-512 and
// else 16.
template <int M>
constexpr int kRowsOfB = M == 1 ? 1 : std::clamp((kLanes == 16 ? 24 : 12) / M, 1, 4);

// sums[i * stride + j] = a[i, :] * b[j, :] for M rows of A, interleaved, and J of B: a vector that
// is loaded serves every row of the other. A single product is four running sums.
template <int M, int J, typename In>
HWY_INLINE void Dots(int64_t depth, const float* HWY_RESTRICT a, const In* HWY_RESTRICT b,
                     int64_t b_row, int64_t stride, float* sums) {
  constexpr int64_t lanes = kLanes;
  constexpr int kRunning = M * J == 1 ? 4 : 1;
  constexpr int64_t kLine = 64 / sizeof(In);
  const F32 d;
  VF s[kRunning][M * J];
  for (int i = 0; i < kRunning * M * J; ++i) s[i / (M * J)][i % (M * J)] = hn::Zero(d);
  int64_t k = 0;
  const auto add = [&](VF* to, int64_t at, const auto& load) HWY_ATTR {
    const float* const x_at = a + at * M;
    VF rows[J];
    for (int j = 0; j < J; ++j) rows[j] = load(b + j * b_row + at);
    for (int i = 0; i < M; ++i) {
      const VF x = LoadV(x_at + i * lanes);
      for (int j = 0; j < J; ++j) to[i * J + j] = hn::MulAdd(x, rows[j], to[i * J + j]);
    }
  };
  for (; k + kRunning * lanes <= depth; k += kRunning * lanes) {
    // Rows that are read side by side are too short for the processor to see what comes next.
    if constexpr (J > 1) {
      const In* const next = b + J * b_row;
      for (int64_t at = k * J; at < (k + lanes) * J; at += kLine)
        __builtin_prefetch(next + at, 0, /*into the second level*/ 2);
    }
    for (int r = 0; r < kRunning; ++r) {
      add(s[r], k + r * lanes, [](const In* p) HWY_ATTR { return LoadV(p); });
    }
  }
  for (; k < depth; k += lanes) {
    const int64_t left = std::min(lanes, depth - k);
    add(s[0], k,
        [left](const In* p) HWY_ATTR { return left == kLanes ? LoadV(p) : LoadPart(p, left); });
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < J; ++j) {
      VF sum = s[0][i * J + j];
      if constexpr (kRunning == 4) sum = (s[0][0] + s[1][0]) + (s[2][0] + s[3][0]);
      sums[i * stride + j] = Sum(sum);
    }
  }
}

// C[i, begin...] = sums, of the type of C.
HWY_NOINLINE void StoreOf(const GemmShape& s, int64_t i, int64_t begin, int64_t columns,
                          const float* sums, void* c) {
  WithType(s.out, [&](auto type) HWY_ATTR {
    using Out = decltype(type);
    StoreSums(columns, s.accumulate, sums, static_cast<Out*>(c) + i * s.ldc + begin);
  });
}

// C = A B^T: a tile is rows of B [n, k], which lie behind each other.
template <int M, typename In>
void ByColumns(TaskPool& pool, const GemmShape& s, const float* a, const In* b, void* c) {
  const int64_t row_bytes = s.k * static_cast<int64_t>(sizeof(In));
  const int64_t step =
      RoundUp(std::max<int64_t>(1, TileBytes(s.n * row_bytes) / row_bytes), kRowsOfB<M>);
  pool.Run(CeilDiv(s.n, step), [&](int64_t tile, int) HWY_ATTR {
    const int64_t end = std::min(s.n, (tile + 1) * step);
    alignas(64) float sums[M * kColumns];
    for (int64_t begin = tile * step; begin < end; begin += kColumns) {
      const int64_t columns = std::min(kColumns, end - begin);
      int64_t j = 0;
      for (; j + kRowsOfB<M> <= columns; j += kRowsOfB<M>) {
        Dots<M, kRowsOfB<M>>(s.k, a, b + (begin + j) * s.ldb, s.ldb, kColumns, sums + j);
      }
      for (; j < columns; ++j) {
        Dots<M, 1>(s.k, a, b + (begin + j) * s.ldb, s.ldb, kColumns, sums + j);
      }
      for (int i = 0; i < M; ++i) StoreOf(s, i, begin, columns, sums + i * kColumns, c);
    }
  });
}

// sums[i, column...] (+)= a[i, k] b[k, column...] over some rows of B, n elements each; the first
// rows begin the sums. What is left over of the work of AddRows, which does the same.
template <typename In>
HWY_NOINLINE void AddRest(const GemmShape& s, bool first, int64_t rows, const float* a, const In* b,
                          int64_t column, float* sums) {
  const F32 d;
  for (int64_t j = column; j < s.n; j += kLanes) {
    const int64_t left = std::min(kLanes, s.n - j);
    const bool whole = left == kLanes;
    for (int64_t i = 0; i < s.m; ++i) {
      float* const at = sums + i * s.n + j;
      VF sum = first ? hn::Zero(d) : whole ? LoadV(at) : LoadPart(at, left);
      for (int64_t r = 0; r < rows; ++r) {
        const In* const row = b + r * s.ldb + j;
        sum = hn::MulAdd(hn::Set(d, a[i * s.k + r]), whole ? LoadV(row) : LoadPart(row, left), sum);
      }
      whole ? StoreV(sum, at) : StorePart(sum, at, left);
    }
  }
}

// The same over R rows of B for M of A, a vector that is loaded serving all of these. Rows are
// short for the processor to see by itself what comes next: `next` are the rows after them, which
// lie behind each other but for gaps.
template <int M, int R, typename In>
HWY_INLINE void AddRows(const GemmShape& s, bool first, const float* a, const In* b, const In* next,
                        float* sums) {
  constexpr int64_t kLine = 64 / sizeof(In);
  const F32 d;
  VF factors[M * R];
  for (int i = 0; i < M; ++i) {
    for (int r = 0; r < R; ++r) factors[i * R + r] = hn::Set(d, a[i * s.k + r]);
  }
  int64_t j = 0;
  for (; j + kLanes <= s.n; j += kLanes) {
    for (int64_t at = j * R; at < (j + kLanes) * R; at += kLine)
      __builtin_prefetch(next + at, 0, /*into the second level*/ 2);
    VF rows[R];
    for (int r = 0; r < R; ++r) rows[r] = LoadV(b + r * s.ldb + j);
    for (int i = 0; i < M; ++i) {
      float* const at = sums + i * s.n + j;
      VF sum = first ? hn::Zero(d) : LoadV(at);
      for (int r = 0; r < R; ++r) sum = hn::MulAdd(factors[i * R + r], rows[r], sum);
      StoreV(sum, at);
    }
  }
  if (j < s.n) AddRest(s, first, R, a, b, j, sums);
}

// C = A B: a tile is whole rows of B [k, n], so that it too is read as it lies.
template <int M, typename In>
void ByDepth(TaskPool& pool, const GemmShape& s, const float* a, const In* b, void* c,
             FewRowsScratch& scratch) {
  constexpr int64_t kAtOnce = 4;
  const int64_t row_bytes = s.n * static_cast<int64_t>(sizeof(In));
  const int64_t depth =
      std::max(kLeastDepth, CeilDiv(TileBytes(s.k * row_bytes) / row_bytes, 4) * 4);
  const int64_t parts = CeilDiv(s.k, depth), stride = M * s.n;
  scratch.sums.resize(std::max<size_t>(scratch.sums.size(), parts * stride));
  scratch.waits.assign(parts, 0);
  float* const sums = scratch.sums.data();
  pool.Run(parts, [&](int64_t part, int) HWY_ATTR {
    float* const own = sums + part * stride;
    const int64_t begin = part * depth, end = std::min(s.k, begin + depth);
    int64_t k = begin;
    for (; k + kAtOnce <= end; k += kAtOnce) {
      const int64_t next = k + 2 * kAtOnce < end ? k + 2 * kAtOnce : k;
      AddRows<M, kAtOnce>(s, k == begin, a + k, b + k * s.ldb, b + next * s.ldb, own);
    }
    if (k < end) AddRest(s, k == begin, end - k, a + k, b + k * s.ldb, 0, own);
    const bool last =
        JoinParts(part, parts, scratch.waits.data(), [&](int64_t left, int64_t right) HWY_ATTR {
          float* const to = sums + left * stride;
          Map(
              stride, to, [](VF x, VF y) HWY_ATTR { return x + y; }, to, sums + right * stride);
        });
    if (!last) return;
    for (int i = 0; i < M; ++i) StoreOf(s, i, 0, s.n, sums + i * s.n, c);
  });
}

template <int M, typename In>
void ProductOf(TaskPool& pool, const GemmShape& s, const In* a, const In* b, void* c) {
  FewRowsScratch& scratch = ScratchOfThread();  // of this one, in the tiles too
  scratch.a.resize(std::max<size_t>(scratch.a.size(), M * RoundUp(s.k, kLanes)));
  if (s.trans_b) {
    Interleave(s, a, scratch.a.data());
    ByColumns<M>(pool, s, scratch.a.data(), b, c);
  } else {
    Widen(s, a, scratch.a.data());
    ByDepth<M>(pool, s, scratch.a.data(), b, c, scratch);
  }
}

// Of s.m rows, M or more.
template <int M, typename In>
void ProductFrom(TaskPool& pool, const GemmShape& s, const In* a, const In* b, void* c) {
  if (s.m == M) return ProductOf<M>(pool, s, a, b, c);
  if constexpr (M < kMostRows) ProductFrom<M + 1>(pool, s, a, b, c);
}

}  // namespace

void FewRowsProduct(TaskPool& pool, const GemmShape& s, const void* a, const void* b, void* c) {
  WithType(s.in, [&](auto type) {
    using In = decltype(type);
    ProductFrom<1>(pool, s, static_cast<const In*>(a), static_cast<const In*>(b), c);
  });
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

FewRowsFn FewRows(const GemmShape& s) {
  static const FewRowsFn chosen =
      ChooseAt<FewRowsFn>(BestLevel(), nullptr, DS_SIMD_TARGETS(simd, FewRowsProduct));
  return s.m > 0 && s.m <= MostRows(s.trans_b) && s.k > 0 ? chosen : nullptr;
}

}  // namespace ds::kernels::simd
#endif
