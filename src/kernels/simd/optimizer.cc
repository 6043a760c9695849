#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/optimizer.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

template <typename G, typename T>
HWY_INLINE void AccumulateAs(TaskPool& pool, int64_t n, const G* g, T* acc) {
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    Map(
        count, acc + i, [](VF a, VF b) HWY_ATTR { return a + b; }, acc + i, g + i);
  });
}

template <typename T>
void Accumulate(TaskPool& pool, int64_t n, DType g_dtype, const void* g, void* acc) {
  if (g_dtype == DType::kF32) {
    AccumulateAs(pool, n, static_cast<const float*>(g), static_cast<T*>(acc));
  } else if (g_dtype == DType::kBF16) {
    AccumulateAs(pool, n, static_cast<const BF16*>(g), static_cast<T*>(acc));
  } else {
    AccumulateAs(pool, n, static_cast<const F16*>(g), static_cast<T*>(acc));
  }
}

using F64 = hn::ScalableTag<double>;
using VD = hn::Vec<F64>;

// The product of two fp32 is exact in double, so only the sums round.
struct Squares {
  // Written out: an implicit constructor would not be compiled for the target.
  Squares() : low(hn::Zero(F64())), high(hn::Zero(F64())) {}
  HWY_INLINE void Add(VF v) {
    const VD a = hn::PromoteTo(F64(), hn::LowerHalf(v));
    const VD b = hn::PromoteTo(F64(), hn::UpperHalf(hn::Half<F32>(), v));
    low = hn::MulAdd(a, a, low);
    high = hn::MulAdd(b, b, high);
  }

  VD low, high;
};

template <typename T>
HWY_INLINE double SquaresOf(int64_t n, const T* x) {
  Squares even, odd;  // two chains hide the latency of an addition
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even.Add(LoadV(x + i));
    odd.Add(LoadV(x + i + kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) even.Add(LoadV(x + i));
  if (i < n) odd.Add(LoadPart(x + i, n - i));
  const VD sum = (even.low + even.high) + (odd.low + odd.high);
  return hn::GetLane(hn::SumOfLanes(F64(), sum));
}

template <typename T>
void SumOfSquares(TaskPool& pool, int64_t n, const void* x_, double* result) {
  constexpr int64_t kParts = 256;  // their sums lie on the stack
  const T* x = static_cast<const T*>(x_);
  double sums[kParts];
  const int64_t step = std::max<int64_t>(1, CeilDiv(CeilDiv(n, kTile), kParts)) * kTile;
  const int64_t parts = CeilDiv(n, step);
  pool.Run(parts, [&](int64_t part, int) HWY_ATTR {
    const int64_t end = std::min(n, (part + 1) * step);
    double sum = 0;
    for (int64_t i = part * step; i < end; i += kTile) {
      sum += SquaresOf(std::min(kTile, end - i), x + i);
    }
    sums[part] = sum;
  });
  double sum = 0;
  for (int64_t part = 0; part < parts; ++part) sum += sums[part];
  *result = sum;
}

// One AdamW step of a vector (kernels/ops.h, AdamScalars); bias corrections become factors.
struct AdamStep {
  explicit AdamStep(const AdamScalars& s)
      : scale(hn::Set(F32(), s.grad_scale)),
        beta1(hn::Set(F32(), s.beta1)),
        beta2(hn::Set(F32(), s.beta2)),
        rest1(hn::Set(F32(), static_cast<float>(1.0 - s.beta1))),
        rest2(hn::Set(F32(), static_cast<float>(1.0 - s.beta2))),
        unbias1(hn::Set(F32(), static_cast<float>(1.0 / s.bias1))),
        unbias2(hn::Set(F32(), static_cast<float>(1.0 / s.bias2))),
        eps(hn::Set(F32(), s.eps)),
        lr(hn::Set(F32(), s.lr)),
        l2(hn::Set(F32(), s.decoupled ? 0.0f : s.weight_decay)),
        decay(hn::Set(F32(), s.decoupled ? s.weight_decay : 0.0f)) {}

  HWY_INLINE void Run(VF g, VF& p, VF& m, VF& v) const {
    g = hn::MulAdd(l2, p, g * scale);
    m = hn::MulAdd(beta1, m, rest1 * g);
    v = hn::MulAdd(beta2, v, rest2 * g * g);
    const VF update = m * unbias1 / (hn::Sqrt(v * unbias2) + eps);
    p = hn::NegMulAdd(lr, hn::MulAdd(decay, p, update), p);
  }

  VF scale, beta1, beta2, rest1, rest2, unbias1, unbias2, eps, lr, l2, decay;
};

template <typename T>
HWY_INLINE void AdamRange(int64_t n, const AdamStep& step, const T* grad, float* master, float* m,
                          float* v, T* weights) {
  const bool apart = static_cast<void*>(weights) != static_cast<void*>(master);
  ForVectors(
      n,
      [&](int64_t i) HWY_ATTR {
        VF p = LoadV(master + i), mean = LoadV(m + i), square = LoadV(v + i);
        step.Run(LoadV(grad + i), p, mean, square);
        StoreV(mean, m + i);
        StoreV(square, v + i);
        StoreV(p, master + i);
        if (apart) StoreV(p, weights + i);
      },
      [&](int64_t i, int64_t count) HWY_ATTR {
        VF p = LoadPart(master + i, count);
        VF mean = LoadPart(m + i, count), square = LoadPart(v + i, count);
        step.Run(LoadPart(grad + i, count), p, mean, square);
        StorePart(mean, m + i, count);
        StorePart(square, v + i, count);
        StorePart(p, master + i, count);
        if (apart) StorePart(p, weights + i, count);
      });
}

template <typename T>
void Adam(TaskPool& pool, int64_t n, const AdamScalars& scalars, const void* grad, float* master,
          float* m, float* v, void* weights) {
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    AdamRange(count, AdamStep(scalars), static_cast<const T*>(grad) + i, master + i, m + i, v + i,
              static_cast<T*>(weights) + i);
  });
}

template <typename T>
void FillRow(Ops& ops) {
  ops.accumulate = Accumulate<T>;
  ops.sum_of_squares = SumOfSquares<T>;
  ops.adam = Adam<T>;
}

}  // namespace

void OptimizerRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillOptimizer(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, OptimizerRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
