#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/elementwise.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// Calls body(row) for each row, some rows a tile.
template <typename Body>
void ForRows(TaskPool& pool, int64_t rows, int64_t width, const Body& body) {
  const int64_t step = TileRows(width);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) body(r);
  });
}

template <typename T>
void AddBias(TaskPool& pool, int64_t rows, int64_t width, int64_t stride, const void* bias_,
             void* x_) {
  const T* bias = static_cast<const T*>(bias_);
  T* x = static_cast<T*>(x_);
  ForRows(pool, rows, width, [&](int64_t r) HWY_ATTR {
    T* row = x + r * stride;
    Map(
        width, row, [](VF a, VF b) HWY_ATTR { return a + b; }, row, bias);
  });
}

template <typename T>
void AddBiasResidual(TaskPool& pool, int64_t rows, int64_t width, const void* bias_, const void* x_,
                     void* y_) {
  const T *bias = static_cast<const T*>(bias_), *x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  ForRows(pool, rows, width, [&](int64_t r) HWY_ATTR {
    T* row = y + r * width;
    if (bias == nullptr) {
      Map(
          width, row, [](VF a, VF b) HWY_ATTR { return a + b; }, row, x + r * width);
      return;
    }
    Map(
        width, row, [](VF a, VF b, VF c) HWY_ATTR { return a + b + c; }, row, bias, x + r * width);
  });
}

template <typename T>
void BiasGrad(TaskPool& pool, int64_t rows, int64_t width, int64_t stride, bool accumulate,
              const void* dy_, void* dbias, float* sums) {
  const T* dy = static_cast<const T*>(dy_);
  const int64_t parts = RowParts(rows), step = RowsOfPart(rows);
  const int64_t across = CeilDiv(width, kColumns);
  pool.Run(parts * across, [&](int64_t tile, int) HWY_ATTR {
    const int64_t part = tile / across, at = tile % across * kColumns;
    const int64_t count = std::min(kColumns, width - at);
    float* const to = sums + part * width + at;
    std::fill(to, to + count, 0.0f);
    for (int64_t r = part * step; r < std::min(rows, (part + 1) * step); ++r) {
      Map(
          count, to, [](VF sum, VF grad) HWY_ATTR { return sum + grad; }, to, dy + r * stride + at);
    }
  });
  SumParts(pool, parts, width, accumulate, sums, static_cast<T*>(dbias));
}

template <typename T>
void SumPartsOp(TaskPool& pool, int64_t parts, int64_t n, bool accumulate, const float* x,
                void* y) {
  SumParts(pool, parts, n, accumulate, x, static_cast<T*>(y));
}

template <typename T>
void Scale(TaskPool& pool, int64_t n, float a, void* x_) {
  T* x = static_cast<T*>(x_);
  const VF factor = hn::Set(F32(), a);
  ForTiles(pool, n, [&](int64_t at, int64_t count) HWY_ATTR {
    Map(
        count, x + at, [factor](VF v) HWY_ATTR { return factor * v; }, x + at);
  });
}

// gelu_new: 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3)  (Hendrycks & Gimpel 2016).
// 0.5 (1 + tanh(u)) is the logistic function of 2u, which loses nothing where tanh is near -1.
constexpr float kTwoRoot = 1.59576912160573f;  // 2 sqrt(2/pi)
constexpr float kCubic = 0.044715f;

struct GeluAt {
  VF value, slope;
};

struct TanhGelu {
  HWY_INLINE GeluAt operator()(VF x) const;
};
HWY_INLINE GeluAt TanhGelu::operator()(VF x) const {
  const F32 d;
  const VF one = hn::Set(d, 1.0f);
  // Beyond 30 the gate is 2^-126 or 1 and x^2 might overflow. NaN is the second operand and stays.
  const VF above = hn::Max(hn::Set(d, -30.0f), x), z = hn::Min(hn::Set(d, 30.0f), above);
  const VF square = z * z;
  constexpr float kPowers = -kTwoRoot * kLog2E;  // of two, in -2u / x
  const VF exponent =
      z * hn::MulAdd(hn::Set(d, kPowers * kCubic), square, hn::Set(d, kPowers));  // -2u
  // By e = exp(-2|u|) both gate and gate (1 - gate) keep their relative precision.
  const VF e = Exp2(hn::Or(exponent, hn::SignBit(d)));
  const VF high = one / (one + e), low = e * high;
  const VF gate = hn::IfThenElse(hn::Zero(d) < exponent, low, high);
  const VF inner =
      hn::MulAdd(hn::Set(d, 3 * kCubic * kTwoRoot), square, hn::Set(d, kTwoRoot));  // (2u)'
  return {above * gate, hn::MulAdd(z * high * low, inner, gate)};
}

// x Phi(x), by Abramowitz and Stegun 7.1.26: erfc(u) = P(1 / (1 + p u)) exp(-u^2) for u >= 0,
// within 1.5e-7; of the lower half of Phi that is all, so that nothing cancels.
struct ErfGelu {
  HWY_INLINE GeluAt operator()(VF x) const {
    const F32 d;
    // Beyond 15 the density is 0 in fp32, and x^2 might overflow. NaN is the second operand and
    // stays.
    const VF above = hn::Max(hn::Set(d, -15.0f), x), z = hn::Min(hn::Set(d, 15.0f), above);
    constexpr float kRootHalf = 0.70710678f, kRootTwoPi = 0.39894228f;
    const VF one = hn::Set(d, 1.0f), u = hn::Abs(z) * hn::Set(d, kRootHalf);
    const VF t = one / hn::MulAdd(hn::Set(d, 0.3275911f), u, one);
    VF poly = hn::Set(d, 1.061405429f);
    for (const float a : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) {
      poly = hn::MulAdd(poly, t, hn::Set(d, a));
    }
    const VF density = Exp2(z * z * hn::Set(d, -0.5f * kLog2E));  // times sqrt(2 pi)
    const VF low = hn::Set(d, 0.5f) * poly * t * density;
    const VF below = hn::IfThenElse(z < hn::Zero(d), low, one - low);
    return {above * below, hn::MulAdd(z * density, hn::Set(d, kRootTwoPi), below)};
  }
};

template <typename T, typename G>
void BiasGelu(TaskPool& pool, int64_t rows, int64_t width, const void* bias_, void* x_, void* y_) {
  const T* bias = static_cast<const T*>(bias_);
  T *x = static_cast<T*>(x_), *y = static_cast<T*>(y_);
  ForRows(pool, rows, width, [&](int64_t r) HWY_ATTR {
    T *in = x + r * width, *out = y + r * width;
    ForVectors(
        width,
        [&](int64_t c) HWY_ATTR {
          const GeluAt at = G()(Rounded<T>(LoadV(in + c) + LoadV(bias + c)));
          StoreV(at.slope, in + c);
          StoreV(at.value, out + c);
        },
        [&](int64_t c, int64_t n) HWY_ATTR {
          const GeluAt at = G()(Rounded<T>(LoadPart(in + c, n) + LoadPart(bias + c, n)));
          StorePart(at.slope, in + c, n);
          StorePart(at.value, out + c, n);
        });
  });
}

template <typename T>
void BiasGeluForward(TaskPool& pool, int64_t rows, int64_t width, kernels::Gelu form,
                     const void* bias, void* x, void* y) {
  const auto run = form == kernels::Gelu::kErf ? BiasGelu<T, ErfGelu> : BiasGelu<T, TanhGelu>;
  run(pool, rows, width, bias, x, y);
}

template <typename T>
void Multiply(TaskPool& pool, int64_t n, const void* a_, const void* b_, void* out_) {
  const T *a = static_cast<const T*>(a_), *b = static_cast<const T*>(b_);
  T* out = static_cast<T*>(out_);
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    Map(
        count, out + i, [](VF x, VF y) HWY_ATTR { return x * y; }, a + i, b + i);
  });
}

// 1 / (1 + e^-x), to its relative precision on both sides.
HWY_INLINE VF Sigmoid(VF x) {
  const F32 d;
  const VF one = hn::Set(d, 1.0f);
  return one / (one + Exp(hn::Neg(x)));
}

template <typename T>
void SwigluForward(TaskPool& pool, int64_t rows, int64_t width, const void* x_, void* y_) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  ForRows(pool, rows, width, [&](int64_t r) HWY_ATTR {
    const T* gate = x + 2 * r * width;
    Map(
        width, y + r * width, [](VF g, VF up) HWY_ATTR { return g * Sigmoid(g) * up; }, gate,
        gate + width);
  });
}

// silu'(g) = s (1 + g (1 - s)).
template <typename T>
void SwigluBackward(TaskPool& pool, int64_t rows, int64_t width, const void* x_, const void* dy_,
                    void* dx_) {
  const T *x = static_cast<const T*>(x_), *dy = static_cast<const T*>(dy_);
  T* dx = static_cast<T*>(dx_);
  ForRows(pool, rows, width, [&](int64_t r) HWY_ATTR {
    const T *gate = x + 2 * r * width, *grad = dy + r * width;
    const VF one = hn::Set(F32(), 1.0f);
    Map(
        width, dx + 2 * r * width,
        [&](VF g, VF up, VF by) HWY_ATTR {
          const VF s = Sigmoid(g);
          return by * up * s * hn::MulAdd(g, one - s, one);
        },
        gate, gate + width, grad);
    Map(
        width, dx + (2 * r + 1) * width, [](VF g, VF by) HWY_ATTR { return by * g * Sigmoid(g); },
        gate, grad);
  });
}

template <typename T>
HWY_INLINE void RotateHead(int64_t half, const float* cos, const float* sin, VF sign, T* x) {
  const auto rotate = [&](VF a, VF b, VF c, VF s, const auto& store) HWY_ATTR {
    s = s * sign;
    store(hn::NegMulAdd(b, s, a * c), hn::MulAdd(a, s, b * c));
  };
  ForVectors(
      half,
      [&](int64_t i) HWY_ATTR {
        rotate(LoadV(x + i), LoadV(x + half + i), LoadV(cos + i), LoadV(sin + i),
               [&](VF a, VF b) HWY_ATTR {
                 StoreV(a, x + i);
                 StoreV(b, x + half + i);
               });
      },
      [&](int64_t i, int64_t n) HWY_ATTR {
        rotate(LoadPart(x + i, n), LoadPart(x + half + i, n), LoadPart(cos + i, n),
               LoadPart(sin + i, n), [&](VF a, VF b) HWY_ATTR {
                 StorePart(a, x + i, n);
                 StorePart(b, x + half + i, n);
               });
      });
}

template <typename T>
void Rope(TaskPool& pool, int64_t rows, int64_t tokens, int64_t heads, int64_t head_dim,
          int64_t stride, bool inverse, const float* table, void* x_) {
  T* x = static_cast<T*>(x_);
  const int64_t half = head_dim / 2;
  ForRows(pool, rows, heads * head_dim, [&](int64_t r) HWY_ATTR {
    const VF sign = hn::Set(F32(), inverse ? -1.0f : 1.0f);
    const float* cos = table + r % tokens * head_dim;
    for (int64_t h = 0; h < heads; ++h) {
      RotateHead(half, cos, cos + half, sign, x + r * stride + h * head_dim);
    }
  });
}

template <typename From, typename To>
HWY_INLINE void Convert(TaskPool& pool, int64_t n, const From* x, To* y) {
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    Map(
        count, y + i, [](VF a) HWY_ATTR { return a; }, x + i);
  });
}

template <typename T>
void FromFloat(TaskPool& pool, int64_t n, const float* x, void* y) {
  Convert(pool, n, x, static_cast<T*>(y));
}

template <typename T>
void ToFloat(TaskPool& pool, int64_t n, const void* x, float* y) {
  Convert(pool, n, static_cast<const T*>(x), y);
}

template <typename T>
void FillRow(Ops& ops) {
  ops.add_bias = AddBias<T>;
  ops.add_bias_residual = AddBiasResidual<T>;
  ops.bias_grad = BiasGrad<T>;
  ops.sum_parts = SumPartsOp<T>;
  ops.scale = Scale<T>;
  ops.bias_gelu_forward = BiasGeluForward<T>;
  ops.multiply = Multiply<T>;
  ops.swiglu_forward = SwigluForward<T>;
  ops.swiglu_backward = SwigluBackward<T>;
  ops.rope = Rope<T>;
  ops.from_float = FromFloat<T>;
  ops.to_float = ToFloat<T>;
}

}  // namespace

void ElementwiseRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillElementwise(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, ElementwiseRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
