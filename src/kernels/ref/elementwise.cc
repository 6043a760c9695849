#include <cmath>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void AddBias(TaskPool&, int64_t rows, int64_t width, int64_t stride, const void* bias, void* x) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      Store<T>(x, r * stride + c, Load<T>(x, r * stride + c) + Load<T>(bias, c));
    }
  }
}

template <typename T>
void AddBiasResidual(TaskPool&, int64_t rows, int64_t width, const void* bias, const void* x,
                     void* y) {
  for (int64_t i = 0; i < rows * width; ++i) {
    const double b = bias == nullptr ? 0.0 : Load<T>(bias, i % width);
    Store<T>(y, i, Load<T>(y, i) + b + Load<T>(x, i));
  }
}

template <typename T>
void BiasGrad(TaskPool&, int64_t rows, int64_t width, int64_t stride, bool accumulate,
              const void* dy, void* dbias, float*) {
  for (int64_t c = 0; c < width; ++c) {
    double sum = accumulate ? Load<T>(dbias, c) : 0.0;
    for (int64_t r = 0; r < rows; ++r) sum += Load<T>(dy, r * stride + c);
    Store<T>(dbias, c, sum);
  }
}

template <typename T>
void SumParts(TaskPool&, int64_t parts, int64_t n, bool accumulate, const float* x, void* y) {
  for (int64_t i = 0; i < n; ++i) {
    double sum = accumulate ? Load<T>(y, i) : 0.0;
    for (int64_t p = 0; p < parts; ++p) sum += x[p * n + i];
    Store<T>(y, i, sum);
  }
}

template <typename T>
void Scale(TaskPool&, int64_t n, float a, void* x) {
  for (int64_t i = 0; i < n; ++i) Store<T>(x, i, static_cast<double>(a) * Load<T>(x, i));
}

// gelu_new: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))  (Hendrycks & Gimpel 2016)
constexpr double kRootTwoOverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;

double TanhGelu(double x) {
  return 0.5 * x * (1.0 + std::tanh(kRootTwoOverPi * (x + kCubic * x * x * x)));
}

double TanhGeluSlope(double x) {
  const double t = std::tanh(kRootTwoOverPi * (x + kCubic * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * kRootTwoOverPi * (1.0 + 3.0 * kCubic * x * x);
}

double NormalBelow(double x) { return 0.5 * std::erfc(-x * std::numbers::sqrt2 / 2); }

double ErfGeluSlope(double x) {
  return NormalBelow(x) + x * std::exp(-x * x / 2) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
}

template <typename T>
void BiasGeluForward(TaskPool&, int64_t rows, int64_t width, Gelu form, const void* bias, void* x,
                     void* y) {
  const bool exact = form == Gelu::kErf;
  for (int64_t i = 0; i < rows * width; ++i) {
    Store<T>(x, i, Load<T>(x, i) + Load<T>(bias, i % width));
    const double sum = Load<T>(x, i);
    Store<T>(y, i, exact ? sum * NormalBelow(sum) : TanhGelu(sum));
    Store<T>(x, i, exact ? ErfGeluSlope(sum) : TanhGeluSlope(sum));
  }
}

template <typename T>
void Multiply(TaskPool&, int64_t n, const void* a, const void* b, void* out) {
  for (int64_t i = 0; i < n; ++i) Store<T>(out, i, Load<T>(a, i) * Load<T>(b, i));
}

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

template <typename T>
void SwigluForward(TaskPool&, int64_t rows, int64_t width, const void* x, void* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const double gate = Load<T>(x, 2 * r * width + c), up = Load<T>(x, (2 * r + 1) * width + c);
      Store<T>(y, r * width + c, gate * Sigmoid(gate) * up);
    }
  }
}

template <typename T>
void SwigluBackward(TaskPool&, int64_t rows, int64_t width, const void* x, const void* dy,
                    void* dx) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const int64_t at = 2 * r * width + c;
      const double gate = Load<T>(x, at), up = Load<T>(x, at + width);
      const double grad = Load<T>(dy, r * width + c), s = Sigmoid(gate);
      Store<T>(dx, at, grad * up * s * (1.0 + gate * (1.0 - s)));
      Store<T>(dx, at + width, grad * gate * s);
    }
  }
}

template <typename T>
void Rope(TaskPool&, int64_t rows, int64_t tokens, int64_t heads, int64_t head_dim, int64_t stride,
          bool inverse, const float* table, void* x) {
  const int64_t half = head_dim / 2;
  for (int64_t r = 0; r < rows; ++r) {
    const float* angle = table + r % tokens * head_dim;
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t d = 0; d < half; ++d) {
        const int64_t at = r * stride + h * head_dim + d;
        const double a = Load<T>(x, at), b = Load<T>(x, at + half);
        const double cos = angle[d], sin = inverse ? -angle[half + d] : angle[half + d];
        Store<T>(x, at, a * cos - b * sin);
        Store<T>(x, at + half, b * cos + a * sin);
      }
    }
  }
}

template <typename T>
void FromFloat(TaskPool&, int64_t n, const float* x, void* y) {
  for (int64_t i = 0; i < n; ++i) Store<T>(y, i, x[i]);
}

template <typename T>
void ToFloat(TaskPool&, int64_t n, const void* x, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = Load<T>(x, i);
}

}  // namespace

template <typename T>
void FillElementwise(Ops& ops) {
  ops.add_bias = AddBias<T>;
  ops.add_bias_residual = AddBiasResidual<T>;
  ops.bias_grad = BiasGrad<T>;
  ops.sum_parts = SumParts<T>;
  ops.scale = Scale<T>;
  ops.bias_gelu_forward = BiasGeluForward<T>;
  ops.multiply = Multiply<T>;
  ops.swiglu_forward = SwigluForward<T>;
  ops.swiglu_backward = SwigluBackward<T>;
  ops.rope = Rope<T>;
  ops.from_float = FromFloat<T>;
  ops.to_float = ToFloat<T>;
}
template void FillElementwise<float>(Ops&);
template void FillElementwise<BF16>(Ops&);
template void FillElementwise<F16>(Ops&);

}  // namespace ds::kernels::ref
