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

// Of the thread that asks for the product: A widened, [m, k], partial sums [parts, m, n], and, by
// the number of the right one, of which pairs of them one has come.
struct FewRowsScratch {
  std::vector<float> a, sums;
  std::vector<uint8_t> waits;
};

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

template <typename In>
HWY_INLINE void Widen(const GemmShape& s, const In* a, float* out) {
  for (int64_t i = 0; i < s.m; ++i, out += s.k) {
    if (!s.trans_a) {
      Map(
          s.k, out, [](VF v) HWY_ATTR { return v; }, a + i * s.lda);
      continue;
    }
    for (int64_t k = 0; k < s.k; ++k) out[k] = static_cast<float>(a[k * s.lda + i]);
  }
}

// sums[i] = a[i, :] * b for M rows of A: four running sums a row, in order of k.
template <int M, typename In>
HWY_INLINE void Dots(int64_t depth, const float* HWY_RESTRICT a, const In* HWY_RESTRICT b,
                     float* sums) {
  constexpr int64_t lanes = kLanes;
  const F32 d;
  VF s0[M], s1[M], s2[M], s3[M];
  for (int i = 0; i < M; ++i) s0[i] = s1[i] = s2[i] = s3[i] = hn::Zero(d);
  int64_t k = 0;
  for (; k + 4 * lanes <= depth; k += 4 * lanes) {
    const VF b0 = LoadV(b + k), b1 = LoadV(b + k + lanes);
    const VF b2 = LoadV(b + k + 2 * lanes), b3 = LoadV(b + k + 3 * lanes);
    for (int i = 0; i < M; ++i) {
      const float* x = a + i * depth + k;
      s0[i] = hn::MulAdd(LoadV(x), b0, s0[i]);
      s1[i] = hn::MulAdd(LoadV(x + lanes), b1, s1[i]);
      s2[i] = hn::MulAdd(LoadV(x + 2 * lanes), b2, s2[i]);
      s3[i] = hn::MulAdd(LoadV(x + 3 * lanes), b3, s3[i]);
    }
  }
  for (; k < depth; k += lanes) {
    const int64_t left = std::min(lanes, depth - k);
    const VF b0 = left == lanes ? LoadV(b + k) : LoadPart(b + k, left);
    for (int i = 0; i < M; ++i) {
      const float* x = a + i * depth + k;
      s0[i] = hn::MulAdd(left == lanes ? LoadV(x) : LoadPart(x, left), b0, s0[i]);
    }
  }
  for (int i = 0; i < M; ++i) sums[i] = Sum((s0[i] + s1[i]) + (s2[i] + s3[i]));
}

// C[i, begin...] = sums, of the type of C.
HWY_INLINE void StoreOf(const GemmShape& s, int64_t i, int64_t begin, int64_t columns,
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
  const int64_t step = std::max<int64_t>(1, TileBytes(s.n * row_bytes) / row_bytes);
  pool.Run(CeilDiv(s.n, step), [&](int64_t tile, int) HWY_ATTR {
    const int64_t end = std::min(s.n, (tile + 1) * step);
    alignas(64) float sums[M * kColumns];
    for (int64_t begin = tile * step; begin < end; begin += kColumns) {
      const int64_t columns = std::min(kColumns, end - begin);
      for (int64_t j = 0; j < columns; ++j) {
        float dots[M];
        Dots<M>(s.k, a, b + (begin + j) * s.ldb, dots);
        for (int i = 0; i < M; ++i) sums[i * kColumns + j] = dots[i];
      }
      for (int i = 0; i < M; ++i) StoreOf(s, i, begin, columns, sums + i * kColumns, c);
    }
  });
}

// sums[i, :] (+)= a[i, k] b[k, :] over R rows of B, n elements each; the first rows begin the sums.
// Rows are short for the processor to see by itself what comes next: `next` are the rows after
// them, which lie behind each other but for gaps.
template <int M, int R, typename In>
HWY_INLINE void AddRows(const GemmShape& s, bool first, const float* a, const In* b, const In* next,
                        float* sums) {
  constexpr int64_t kLine = 64 / sizeof(In);
  const F32 d;
  VF factors[M * R];
  for (int i = 0; i < M; ++i) {
    for (int r = 0; r < R; ++r) factors[i * R + r] = hn::Set(d, a[i * s.k + r]);
  }
  const auto add = [&](int64_t j, const auto& load, const auto& load_sum, const auto& store)
                       HWY_ATTR {
                         VF rows[R];
                         for (int r = 0; r < R; ++r) rows[r] = load(b + r * s.ldb + j);
                         for (int i = 0; i < M; ++i) {
                           float* const at = sums + i * s.n + j;
                           VF sum = first ? hn::Zero(d) : load_sum(at);
                           for (int r = 0; r < R; ++r)
                             sum = hn::MulAdd(factors[i * R + r], rows[r], sum);
                           store(sum, at);
                         }
                       };
  ForVectors(
      s.n,
      [&](int64_t j) HWY_ATTR {
        for (int64_t at = j * R; at < (j + kLanes) * R; at += kLine)
          __builtin_prefetch(next + at, 0, /*into the second level*/ 2);
        add(
            j, [](const In* p) HWY_ATTR { return LoadV(p); },
            [](const float* p) HWY_ATTR { return LoadV(p); },
            [](VF v, float* p) HWY_ATTR { StoreV(v, p); });
      },
      [&](int64_t j, int64_t n) HWY_ATTR {
        add(
            j, [n](const In* p) HWY_ATTR { return LoadPart(p, n); },
            [n](const float* p) HWY_ATTR { return LoadPart(p, n); },
            [n](VF v, float* p) HWY_ATTR { StorePart(v, p, n); });
      });
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
    for (; k < end; ++k) {
      AddRows<M, 1>(s, k == begin, a + k, b + k * s.ldb, b + k * s.ldb, own);
    }
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
  thread_local FewRowsScratch own;
  FewRowsScratch& scratch = own;  // of this thread, in the tiles too
  scratch.a.resize(std::max<size_t>(scratch.a.size(), M * s.k));
  Widen(s, a, scratch.a.data());
  if (s.trans_b) {
    ByColumns<M>(pool, s, scratch.a.data(), b, c);
  } else {
    ByDepth<M>(pool, s, scratch.a.data(), b, c, scratch);
  }
}

}  // namespace

void FewRowsProduct(TaskPool& pool, const GemmShape& s, const void* a, const void* b, void* c) {
  WithType(s.in, [&](auto type) {
    using In = decltype(type);
    const In *x = static_cast<const In*>(a), *y = static_cast<const In*>(b);
    if (s.m == 1) return ProductOf<1>(pool, s, x, y, c);
    if (s.m == 2) return ProductOf<2>(pool, s, x, y, c);
    if (s.m == 3) return ProductOf<3>(pool, s, x, y, c);
    ProductOf<4>(pool, s, x, y, c);
  });
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

FewRowsFn FewRows() {
  static const FewRowsFn chosen =
      ChooseAt<FewRowsFn>(BestLevel(), nullptr, DS_SIMD_TARGETS(simd, FewRowsProduct));
  return chosen;
}

}  // namespace ds::kernels::simd
#endif
