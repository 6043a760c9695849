#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/dropout.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/dropout-inl.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// Calls body(first element, count, factors) for each piece of each row.
template <typename Body>
HWY_INLINE void ForPieces(TaskPool& pool, int64_t rows, int64_t width, const Dropout& dropout,
                          const Body& body) {
  const int64_t step = TileRows(width);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    alignas(64) float factors[Dropout::kPiece];
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      uint64_t group = dropout.GroupOf(r, width);
      for (int64_t c = 0; c < width; c += Dropout::kPiece, group += Dropout::kGroups) {
        KeepFactors(dropout, group, factors);
        body(r * width, c, std::min(Dropout::kPiece, width - c), factors);
      }
    }
  });
}

template <typename T>
void Drop(TaskPool& pool, int64_t rows, int64_t width, Dropout dropout, const void* x_, void* y_) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  ForPieces(pool, rows, width, dropout,
            [&](int64_t row, int64_t c, int64_t count, const float* factors) HWY_ATTR {
              Map(
                  count, y + row + c, [](VF v, VF f) HWY_ATTR { return v * f; }, x + row + c,
                  factors);
            });
}

template <typename T>
void DropResidual(TaskPool& pool, int64_t rows, int64_t width, Dropout dropout, const void* bias_,
                  const void* x_, void* y_) {
  const T *bias = static_cast<const T*>(bias_), *x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  ForPieces(pool, rows, width, dropout,
            [&](int64_t row, int64_t c, int64_t count, const float* factors) HWY_ATTR {
              T* out = y + row + c;
              const T* in = x + row + c;
              if (bias == nullptr) {
                Map(
                    count, out, [](VF v, VF f, VF a) HWY_ATTR { return hn::MulAdd(v, f, a); }, out,
                    factors, in);
                return;
              }
              Map(
                  count, out,
                  [](VF v, VF b, VF f, VF a) HWY_ATTR { return hn::MulAdd(v + b, f, a); }, out,
                  bias + c, factors, in);
            });
}

template <typename T>
void FillRow(Ops& ops) {
  ops.dropout = Drop<T>;
  ops.dropout_residual = DropResidual<T>;
}

}  // namespace

void DropoutRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillDropout(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, DropoutRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
