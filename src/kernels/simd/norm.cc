#include <cmath>

#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// Elements of a row that are summed in fp32; the chunks are summed in double, so that a wide row is
// as exact as a narrow one.
constexpr int64_t kChunk = 1024;

template <typename T>
HWY_INLINE double SumOf(int64_t width, const T* x) {
  double total = 0;
  for (int64_t at = 0; at < width; at += kChunk) {
    VF sum = hn::Zero(F32());
    ForVectors(
        std::min(kChunk, width - at), [&](int64_t c) HWY_ATTR { sum = sum + LoadV(x + at + c); },
        [&](int64_t c, int64_t n) HWY_ATTR { sum = sum + LoadPart(x + at + c, n); });
    total += Sum(sum);
  }
  return total;
}

template <typename T>
HWY_INLINE double SumOfSquaresOf(int64_t width, const T* x) {
  double total = 0;
  for (int64_t at = 0; at < width; at += kChunk) {
    VF sum = hn::Zero(F32());
    const auto add = [&](VF v) HWY_ATTR { sum = hn::MulAdd(v, v, sum); };
    ForVectors(
        std::min(kChunk, width - at), [&](int64_t c) HWY_ATTR { add(LoadV(x + at + c)); },
        [&](int64_t c, int64_t n) HWY_ATTR { add(LoadPart(x + at + c, n)); });
    total += Sum(sum);
  }
  return total;
}

struct Moments {
  float mean, rstd;
};

// Two passes. The second also sums the deviations, which corrects the mean for what the first lost
// when it is large beside them.
template <typename T>
HWY_INLINE Moments MomentsOf(int64_t width, float eps, const T* x) {
  if (width == 0) return {0.0f, static_cast<float>(1.0 / std::sqrt(static_cast<double>(eps)))};
  const F32 d;
  const double n = static_cast<double>(width);
  const float guess = static_cast<float>(SumOf(width, x) / n);
  const VF center = hn::Set(d, guess);
  double off = 0, variance = 0;
  for (int64_t at = 0; at < width; at += kChunk) {
    VF sum = hn::Zero(d), squares = hn::Zero(d);
    const auto add = [&](VF dev) HWY_ATTR {
      sum = sum + dev;
      squares = hn::MulAdd(dev, dev, squares);
    };
    ForVectors(
        std::min(kChunk, width - at), [&](int64_t c) HWY_ATTR { add(LoadV(x + at + c) - center); },
        [&](int64_t c, int64_t count) HWY_ATTR {
          add(hn::IfThenElseZero(hn::FirstN(d, count), LoadPart(x + at + c, count) - center));
        });
    off += Sum(sum);
    variance += Sum(squares);
  }
  off /= n;
  variance = std::max(0.0, variance / n - off * off);
  return {static_cast<float>(guess + off), static_cast<float>(1.0 / std::sqrt(variance + eps))};
}

template <typename T>
void Forward(TaskPool& pool, int64_t rows, int64_t width, float eps, const void* x_,
             const void* gamma_, const void* beta_, void* y_, float* mean, float* rstd) {
  const T *x = static_cast<const T*>(x_), *gamma = static_cast<const T*>(gamma_);
  const T* beta = static_cast<const T*>(beta_);
  T* y = static_cast<T*>(y_);
  const int64_t step = TileRows(width);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      const Moments of = MomentsOf(width, eps, x + r * width);
      mean[r] = of.mean;
      rstd[r] = of.rstd;
      const VF center = hn::Set(F32(), of.mean), scale = hn::Set(F32(), of.rstd);
      Map(
          width, y + r * width,
          [&](VF v, VF g, VF b) HWY_ATTR { return hn::MulAdd(g, (v - center) * scale, b); },
          x + r * width, gamma, beta);
    }
  });
}

// dx += rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat)), dxhat = dy gamma.
template <typename T>
HWY_INLINE void BackwardRow(int64_t width, float mean, float rstd, const T* x, const T* gamma,
                            const T* dy, T* dx) {
  const F32 d;
  const VF center = hn::Set(d, mean), scale = hn::Set(d, rstd);
  double total = 0, total_dot = 0;
  for (int64_t at = 0; at < width; at += kChunk) {
    VF sum = hn::Zero(d), dot = hn::Zero(d);
    const auto add = [&](VF v, VF g, VF grad) HWY_ATTR {
      const VF dxhat = grad * g;
      sum = sum + dxhat;
      dot = hn::MulAdd(dxhat, (v - center) * scale, dot);
    };
    const T *in = x + at, *by = gamma + at, *out = dy + at;
    ForVectors(  // of a part, the padding has dxhat = 0
        std::min(kChunk, width - at),
        [&](int64_t c) HWY_ATTR { add(LoadV(in + c), LoadV(by + c), LoadV(out + c)); },
        [&](int64_t c, int64_t n)
            HWY_ATTR { add(LoadPart(in + c, n), LoadPart(by + c, n), LoadPart(out + c, n)); });
    total += Sum(sum);
    total_dot += Sum(dot);
  }
  const double n = static_cast<double>(width);
  const VF mean_sum = hn::Set(d, static_cast<float>(total / n));
  const VF mean_dot = hn::Set(d, static_cast<float>(total_dot / n));
  Map(
      width, dx,
      [&](VF v, VF g, VF grad, VF old) HWY_ATTR {
        const VF rest = hn::NegMulAdd((v - center) * scale, mean_dot, grad * g - mean_sum);
        return hn::MulAdd(scale, rest, old);
      },
      x, gamma, dy, dx);
}

// What a row adds to the gradients of gamma and beta.
template <typename T>
HWY_INLINE void AddWeightGrads(int64_t width, float mean, float rstd, const T* x, const T* dy,
                               float* dgamma, float* dbeta) {
  const VF center = hn::Set(F32(), mean), scale = hn::Set(F32(), rstd);
  Map(
      width, dgamma,
      [&](VF v, VF g, VF sum) HWY_ATTR { return hn::MulAdd(g, (v - center) * scale, sum); }, x, dy,
      dgamma);
  Map(
      width, dbeta, [](VF g, VF sum) HWY_ATTR { return sum + g; }, dy, dbeta);
}

template <typename T>
void Backward(TaskPool& pool, int64_t rows, int64_t width, bool accumulate, const void* x_,
              const void* gamma_, const float* mean, const float* rstd, const void* dy_, void* dx_,
              void* dgamma, void* dbeta, float* sums) {
  const T *x = static_cast<const T*>(x_), *gamma = static_cast<const T*>(gamma_);
  const T* dy = static_cast<const T*>(dy_);
  T* dx = static_cast<T*>(dx_);
  const int64_t parts = RowParts(rows), step = RowsOfPart(rows);
  float* const sums_beta = sums + parts * width;
  pool.Run(parts, [&](int64_t part, int) HWY_ATTR {
    float *const to_gamma = sums + part * width, *const to_beta = sums_beta + part * width;
    if (dgamma != nullptr) {
      std::fill(to_gamma, to_gamma + width, 0.0f);
      std::fill(to_beta, to_beta + width, 0.0f);
    }
    for (int64_t r = part * step; r < std::min(rows, (part + 1) * step); ++r) {
      const int64_t at = r * width;
      BackwardRow(width, mean[r], rstd[r], x + at, gamma, dy + at, dx + at);
      if (dgamma == nullptr) continue;
      AddWeightGrads(width, mean[r], rstd[r], x + at, dy + at, to_gamma, to_beta);
    }
  });
  if (dgamma == nullptr) return;
  SumParts(pool, parts, width, accumulate, sums, static_cast<T*>(dgamma));
  if (dbeta == nullptr) return;
  SumParts(pool, parts, width, accumulate, sums_beta, static_cast<T*>(dbeta));
}

template <typename T>
void RmsForward(TaskPool& pool, int64_t rows, int64_t heads, int64_t width, int64_t x_stride,
                int64_t y_stride, float eps, const void* x_, const void* gamma_, void* y_,
                float* rstd) {
  const T *x = static_cast<const T*>(x_), *gamma = static_cast<const T*>(gamma_);
  T* y = static_cast<T*>(y_);
  const int64_t step = TileRows(heads * width);
  const double n = static_cast<double>(std::max<int64_t>(1, width));
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        const T* in = x + r * x_stride + h * width;
        const double mean = SumOfSquaresOf(width, in) / n;
        const auto scale = static_cast<float>(1.0 / std::sqrt(mean + eps));
        rstd[r * heads + h] = scale;
        const VF by = hn::Set(F32(), scale);
        Map(
            width, y + r * y_stride + h * width, [&](VF v, VF g) HWY_ATTR { return g * (v * by); },
            in, gamma);
      }
    }
  });
}

// dx = rstd (dxhat - xhat mean(dxhat xhat)), dxhat = dy gamma; added to dx, or in its place.
template <typename T>
HWY_INLINE void RmsBackwardHead(int64_t width, float rstd, bool add, const T* x, const T* gamma,
                                const T* dy, T* dx) {
  const F32 d;
  const VF scale = hn::Set(d, rstd);
  double total = 0;
  for (int64_t at = 0; at < width; at += kChunk) {
    VF dot = hn::Zero(d);
    const auto more = [&](VF v, VF g, VF grad)
                          HWY_ATTR { dot = hn::MulAdd(grad * g, v * scale, dot); };
    const T *in = x + at, *by = gamma + at, *out = dy + at;
    ForVectors(
        std::min(kChunk, width - at),
        [&](int64_t c) HWY_ATTR { more(LoadV(in + c), LoadV(by + c), LoadV(out + c)); },
        [&](int64_t c, int64_t n)
            HWY_ATTR { more(LoadPart(in + c, n), LoadPart(by + c, n), LoadPart(out + c, n)); });
    total += Sum(dot);
  }
  const VF mean = hn::Set(d, static_cast<float>(total / static_cast<double>(width)));
  const auto grad_of = [&](VF v, VF g, VF grad)
                           HWY_ATTR { return hn::NegMulAdd(v * scale, mean, grad * g); };
  if (add) {
    Map(
        width, dx,
        [&](VF v, VF g, VF grad, VF old)
            HWY_ATTR { return hn::MulAdd(scale, grad_of(v, g, grad), old); },
        x, gamma, dy, dx);
  } else {
    Map(
        width, dx, [&](VF v, VF g, VF grad) HWY_ATTR { return scale * grad_of(v, g, grad); }, x,
        gamma, dy);
  }
}

// What a head adds to the gradient of gamma comes before dx, which may be dy.
template <typename T>
void RmsBackward(TaskPool& pool, int64_t rows, int64_t heads, int64_t width, int64_t x_stride,
                 int64_t dy_stride, bool accumulate, bool add, const void* x_, const void* gamma_,
                 const float* rstd, const void* dy_, void* dx_, void* dgamma, float* sums) {
  const T *x = static_cast<const T*>(x_), *gamma = static_cast<const T*>(gamma_);
  const T* dy = static_cast<const T*>(dy_);
  T* dx = static_cast<T*>(dx_);
  const int64_t parts = RowParts(rows), step = RowsOfPart(rows);
  pool.Run(parts, [&](int64_t part, int) HWY_ATTR {
    float* const to = sums + part * width;
    if (dgamma != nullptr) std::fill(to, to + width, 0.0f);
    for (int64_t i = part * step * heads; i < std::min(rows, (part + 1) * step) * heads; ++i) {
      const int64_t r = i / heads, h = i % heads;
      const int64_t in = r * x_stride + h * width, out = r * dy_stride + h * width;
      if (dgamma != nullptr) {
        const VF scale = hn::Set(F32(), rstd[i]);
        Map(
            width, to, [&](VF v, VF g, VF sum) HWY_ATTR { return hn::MulAdd(g, v * scale, sum); },
            x + in, dy + out, to);
      }
      RmsBackwardHead(width, rstd[i], add, x + in, gamma, dy + out, dx + out);
    }
  });
  if (dgamma != nullptr) SumParts(pool, parts, width, accumulate, sums, static_cast<T*>(dgamma));
}

template <typename T>
void FillRow(Ops& ops) {
  ops.layer_norm_forward = Forward<T>;
  ops.layer_norm_backward = Backward<T>;
  ops.rms_norm_forward = RmsForward<T>;
  ops.rms_norm_backward = RmsBackward<T>;
}

}  // namespace

void NormRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillNorm(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, NormRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
