// The matrix product inside the library: Goto's scheme (Goto & van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", TOMS 2008). Panels of A and B are packed, widened to
// fp32, into scratch of the thread; a register tile of kRows x two vectors is summed over k in
// order, in chunks of kDepth whose partial sums go through fp32 memory.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/gemm.h"
#include "kernels/ref/ref.h"
#include "kernels/simd/level.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/gemm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/transpose-inl.h"
#include "kernels/simd/vec-inl.h"

#ifndef DS_KERNELS_SIMD_GEMM_ONCE
#define DS_KERNELS_SIMD_GEMM_ONCE
namespace ds::kernels::simd {

constexpr int64_t kRows = 6;        // of a register tile
constexpr int64_t kDepth = 256;     // of a packed panel
constexpr int64_t kMostLanes = 16;  // fp32 lanes of the widest vector
constexpr int64_t kBlockRows = 96;  // rows of A packed at once: a multiple of kRows
constexpr int64_t kSumRows = 384;   // rows of C that one packing of B serves: of kBlockRows

// Scratch of a thread: packed A, packed B, and fp32 sums of a block of C.
struct GemmScratch {
  float* a = nullptr;
  float* b = nullptr;
  float* c = nullptr;
  int64_t columns = 0;

  void Reserve(int64_t n) {
    if (n <= columns) return;
    Free();
    const int64_t most = (n + 2 * kMostLanes - 1) / (2 * kMostLanes) * (2 * kMostLanes);
    a = Take(kBlockRows * kDepth);
    b = Take(kDepth * most);
    c = Take(kSumRows * most);
    columns = most;  // not before: memory may run out on the way
  }
  ~GemmScratch() { Free(); }

 private:
  static float* Take(int64_t count) {
    void* p = std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    if (p == nullptr) throw std::bad_alloc();
    return static_cast<float*>(p);
  }
  void Free() {
    std::free(a), std::free(b), std::free(c);
    a = b = c = nullptr;
    columns = 0;
  }
};

}  // namespace ds::kernels::simd
#endif

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// rows x depth of A, as columns of kRows: out[(panel * depth + k) * kRows + r]. `a` is its element
// (0, 0).
template <typename T>
HWY_INLINE void PackA(const GemmShape& s, const T* a, int64_t rows, int64_t depth, float* out) {
  const int64_t down = s.trans_a ? 1 : s.lda, along = s.trans_a ? s.lda : 1;
  for (int64_t panel = 0; panel < rows; panel += kRows, out += depth * kRows) {
    const int64_t used = std::min(kRows, rows - panel);
    if (s.trans_a && used == kRows) {  // along the rows that lie in memory
      for (int64_t k = 0; k < depth; ++k) {
        const T* from = a + k * s.lda + panel;
        for (int64_t r = 0; r < kRows; ++r) out[k * kRows + r] = static_cast<float>(from[r]);
      }
      continue;
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const T* from = a + (panel + r) * down;
      for (int64_t k = 0; k < depth; ++k) {
        out[k * kRows + r] = r < used ? static_cast<float>(from[k * along]) : 0.0f;
      }
    }
  }
}

// depth x n of B, as rows of two vectors: out[(panel * depth + k) * width + j]. `b` is its element
// (0, 0).
template <typename T>
HWY_INLINE void PackB(const GemmShape& s, const T* b, int64_t depth, float* out) {
  constexpr int64_t width = 2 * kLanes;
  for (int64_t panel = 0; panel < s.n; panel += width, out += depth * width) {
    const int64_t used = std::min(width, s.n - panel);
    if constexpr (std::is_same_v<T, float>) {
      if (s.trans_b && used == width) {
        TransposeMatrix(width, depth, b + panel * s.ldb, s.ldb, out, width);
        continue;
      }
    }
    if (s.trans_b) {
      for (int64_t j = 0; j < width; ++j) {
        const T* from = b + (panel + j) * s.ldb;
        for (int64_t k = 0; k < depth; ++k) {
          out[k * width + j] = j < used ? static_cast<float>(from[k]) : 0.0f;
        }
      }
      continue;
    }
    for (int64_t k = 0; k < depth; ++k) {
      const T* from = b + k * s.ldb + panel;
      float* row = out + k * width;
      if (used == width) {
        StoreV(LoadV(from), row);
        StoreV(LoadV(from + kLanes), row + kLanes);
      } else {
        for (int64_t j = 0; j < width; ++j) row[j] = j < used ? static_cast<float>(from[j]) : 0.0f;
      }
    }
  }
}

// c[kRows, two vectors] += packed a * packed b.
HWY_INLINE void RegisterTile(int64_t depth, const float* HWY_RESTRICT a,
                             const float* HWY_RESTRICT b, float* HWY_RESTRICT c, int64_t ldc) {
  const F32 d;
  constexpr int64_t lanes = kLanes;
  auto c00 = hn::Load(d, c), c01 = hn::Load(d, c + lanes);
  auto c10 = hn::Load(d, c + ldc), c11 = hn::Load(d, c + ldc + lanes);
  auto c20 = hn::Load(d, c + 2 * ldc), c21 = hn::Load(d, c + 2 * ldc + lanes);
  auto c30 = hn::Load(d, c + 3 * ldc), c31 = hn::Load(d, c + 3 * ldc + lanes);
  auto c40 = hn::Load(d, c + 4 * ldc), c41 = hn::Load(d, c + 4 * ldc + lanes);
  auto c50 = hn::Load(d, c + 5 * ldc), c51 = hn::Load(d, c + 5 * ldc + lanes);
  for (int64_t k = 0; k < depth; ++k, a += kRows, b += 2 * lanes) {
    const auto b0 = hn::Load(d, b), b1 = hn::Load(d, b + lanes);
    // One broadcast at a time: the sums and B leave one register of sixteen.
    const auto a0 = hn::Set(d, a[0]);
    c00 = hn::MulAdd(a0, b0, c00), c01 = hn::MulAdd(a0, b1, c01);
    const auto a1 = hn::Set(d, a[1]);
    c10 = hn::MulAdd(a1, b0, c10), c11 = hn::MulAdd(a1, b1, c11);
    const auto a2 = hn::Set(d, a[2]);
    c20 = hn::MulAdd(a2, b0, c20), c21 = hn::MulAdd(a2, b1, c21);
    const auto a3 = hn::Set(d, a[3]);
    c30 = hn::MulAdd(a3, b0, c30), c31 = hn::MulAdd(a3, b1, c31);
    const auto a4 = hn::Set(d, a[4]);
    c40 = hn::MulAdd(a4, b0, c40), c41 = hn::MulAdd(a4, b1, c41);
    const auto a5 = hn::Set(d, a[5]);
    c50 = hn::MulAdd(a5, b0, c50), c51 = hn::MulAdd(a5, b1, c51);
  }
  hn::Store(c00, d, c), hn::Store(c01, d, c + lanes);
  hn::Store(c10, d, c + ldc), hn::Store(c11, d, c + ldc + lanes);
  hn::Store(c20, d, c + 2 * ldc), hn::Store(c21, d, c + 2 * ldc + lanes);
  hn::Store(c30, d, c + 3 * ldc), hn::Store(c31, d, c + 3 * ldc + lanes);
  hn::Store(c40, d, c + 4 * ldc), hn::Store(c41, d, c + 4 * ldc + lanes);
  hn::Store(c50, d, c + 5 * ldc), hn::Store(c51, d, c + 5 * ldc + lanes);
}

// Rows of C, of any type, from `row` on. A function, for the sums are the same whatever it is.
HWY_NOINLINE void StoreBlock(const GemmShape& s, int64_t row, int64_t rows, const float* sums,
                             int64_t stride, void* c) {
  WithType(s.out, [&](auto type) HWY_ATTR {
    auto* const to = static_cast<decltype(type)*>(c) + row * s.ldc;
    for (int64_t r = 0; r < rows; ++r)
      StoreSums(s.n, s.accumulate, sums + r * stride, to + r * s.ldc);
  });
}

template <typename In>
HWY_INLINE void TileOf(const GemmShape& s, const GemmScratch& scratch, const In* a, const In* b,
                       void* c) {
  constexpr int64_t width = 2 * kLanes;
  const int64_t stride = CeilDiv(s.n, width) * width;
  for (int64_t row = 0; row < s.m; row += kSumRows) {
    const int64_t rows = std::min(kSumRows, s.m - row);
    std::memset(scratch.c, 0, CeilDiv(rows, kRows) * kRows * stride * sizeof(float));
    for (int64_t k = 0; k < s.k; k += kDepth) {
      const int64_t depth = std::min(kDepth, s.k - k);
      PackB(s, b + (s.trans_b ? k : k * s.ldb), depth, scratch.b);
      for (int64_t block = 0; block < rows; block += kBlockRows) {
        const int64_t i0 = row + block, count = std::min(kBlockRows, rows - block);
        PackA(s, a + (s.trans_a ? k * s.lda + i0 : i0 * s.lda + k), count, depth, scratch.a);
        for (int64_t j = 0; j < stride; j += width) {
          for (int64_t i = 0; i < count; i += kRows) {
            RegisterTile(depth, scratch.a + i * depth, scratch.b + j * depth,
                         scratch.c + (block + i) * stride + j, stride);
          }
        }
      }
    }
    StoreBlock(s, row, rows, scratch.c, stride, c);
  }
}

}  // namespace

void Tile(const GemmShape& s, const void* a, const void* b, void* c) {
  thread_local GemmScratch scratch;
  scratch.Reserve(s.n);
  WithType(s.in, [&](auto type) HWY_ATTR {
    using In = decltype(type);
    TileOf(s, scratch, static_cast<const In*>(a), static_cast<const In*>(b), c);
  });
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels {
namespace {

using TileFn = void (*)(const GemmShape&, const void*, const void*, void*);

class SimdGemm final : public Gemm {
 public:
  explicit SimdGemm(simd::Level level)
      : tile_(simd::ChooseAt<TileFn>(level, ref::GemmTile, DS_SIMD_TARGETS(simd, Tile))) {}
  const char* name() const override { return "simd"; }
  std::string description() const override {
    return std::string("this library, ") + simd::LevelName(simd::BestLevel());
  }
  Cut BestCut(const GemmShape&) const override { return Cut::kColumnsFirst; }
  void Tile(const GemmShape& shape, const void* a, const void* b, void* c) override {
    tile_(shape, a, b, c);
  }

 private:
  const TileFn tile_;
};

}  // namespace

std::unique_ptr<Gemm> CreateSimdGemm() { return std::make_unique<SimdGemm>(simd::BestLevel()); }

}  // namespace ds::kernels
#endif
