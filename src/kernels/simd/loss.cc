#include <cmath>
#include <limits>

#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/loss.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

template <typename T>
HWY_INLINE float MaxOf(int64_t n, const T* x) {
  VF most = hn::Set(F32(), static_cast<float>(x[0]));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) most = hn::Max(most, LoadV(x + i));
  float result = hn::GetLane(hn::MaxOfLanes(F32(), most));
  for (; i < n; ++i) result = std::max(result, static_cast<float>(x[i]));
  return result;
}

// The sum of exp(x - most): fp32 within chunks, double over them.
template <typename T>
HWY_INLINE double SumOfExp(int64_t n, float most, const T* x) {
  constexpr int64_t kChunk = 2048;
  const F32 d;
  const VF shift = hn::Set(d, most);
  double total = 0;
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t count = std::min(kChunk, n - start);
    VF sum = hn::Zero(d);
    ForVectors(
        count, [&](int64_t i) HWY_ATTR { sum = sum + Exp(LoadV(x + start + i) - shift); },
        [&](int64_t i, int64_t part) HWY_ATTR {
          const VF e = Exp(LoadPart(x + start + i, part) - shift);
          sum = sum + hn::IfThenElseZero(hn::FirstN(d, part), e);
        });
    total += Sum(sum);
  }
  return total;
}

// The target is left out of the sum, so that 1 - p and the loss lose nothing where p is near 1.
struct RowSums {
  float most;
  double shifted, own, others;  // the logit of the target below the most, exp of it, the other exps

  double all() const { return others + own; }
  float loss() const {
    return static_cast<float>(shifted > -1 ? std::log1p(others / own) : std::log(all()) - shifted);
  }
};
// Afterwards the logit of the target is gone.
template <typename T>
HWY_INLINE RowSums SumsOfRow(int64_t vocab, int32_t target, T* x) {
  const float most = MaxOf(vocab, x);
  const double shifted = static_cast<double>(static_cast<float>(x[target])) - most;
  x[target] = T(-std::numeric_limits<float>::infinity());
  return {most, shifted, std::exp(shifted), SumOfExp(vocab, most, x)};
}

template <typename T>
HWY_INLINE float LossOfRow(int64_t vocab, float scale, int32_t target, T* x) {
  if (target < 0) {
    std::fill(x, x + vocab, T(0.0f));
    return 0;
  }
  const RowSums sums = SumsOfRow(vocab, target, x);
  const VF shift = hn::Set(F32(), sums.most);
  const VF factor = hn::Set(F32(), static_cast<float>(scale / sums.all()));
  Map(
      vocab, x, [&](VF a) HWY_ATTR { return Exp(a - shift) * factor; }, x);
  x[target] = T(static_cast<float>(-scale * (sums.others / sums.all())));
  return sums.loss();
}

template <typename T>
void CrossEntropy(TaskPool& pool, int64_t rows, int64_t vocab, float scale, const int32_t* targets,
                  void* logits, float* losses) {
  const int64_t step = TileRows(vocab);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      losses[r] = LossOfRow(vocab, scale, targets[r], static_cast<T*>(logits) + r * vocab);
    }
  });
}

template <typename T>
void TokenLosses(TaskPool& pool, int64_t rows, int64_t vocab, const int32_t* targets, void* logits,
                 float* losses) {
  const int64_t step = TileRows(vocab);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      T* const x = static_cast<T*>(logits) + r * vocab;
      losses[r] = targets[r] < 0 ? 0 : SumsOfRow(vocab, targets[r], x).loss();
    }
  });
}

template <typename T>
void FillRow(Ops& ops) {
  ops.cross_entropy = CrossEntropy<T>;
  ops.token_losses = TokenLosses<T>;
}

}  // namespace

void LossRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillLoss(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, LossRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
