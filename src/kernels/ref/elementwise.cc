#include <cmath>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void AddBias(TaskPool&, int64_t rows, int64_t width, const void* bias, void* x) {
  for (int64_t i = 0; i < rows * width; ++i)
    Store<T>(x, i, Load<T>(x, i) + Load<T>(bias, i % width));
}

template <typename T>
void AddBiasResidual(TaskPool&, int64_t rows, int64_t width, const void* bias, const void* x,
                     void* y) {
  for (int64_t i = 0; i < rows * width; ++i) {
    Store<T>(y, i, static_cast<double>(Load<T>(y, i)) + Load<T>(bias, i % width) + Load<T>(x, i));
  }
}

template <typename T>
void BiasGrad(TaskPool&, int64_t rows, int64_t width, bool accumulate, const void* dy,
              void* dbias) {
  for (int64_t c = 0; c < width; ++c) {
    double sum = accumulate ? Load<T>(dbias, c) : 0.0;
    for (int64_t r = 0; r < rows; ++r) sum += Load<T>(dy, r * width + c);
    Store<T>(dbias, c, sum);
  }
}

// gelu_new: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))  (Hendrycks & Gimpel 2016)
constexpr double kRootTwoOverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;

double Gelu(double x) {
  return 0.5 * x * (1.0 + std::tanh(kRootTwoOverPi * (x + kCubic * x * x * x)));
}

double GeluSlope(double x) {
  const double t = std::tanh(kRootTwoOverPi * (x + kCubic * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * kRootTwoOverPi * (1.0 + 3.0 * kCubic * x * x);
}

template <typename T>
void BiasGeluForward(TaskPool&, int64_t rows, int64_t width, const void* bias, void* x, void* y) {
  for (int64_t i = 0; i < rows * width; ++i) {
    Store<T>(x, i, Load<T>(x, i) + Load<T>(bias, i % width));
    Store<T>(y, i, Gelu(Load<T>(x, i)));
  }
}

template <typename T>
void GeluBackward(TaskPool&, int64_t n, const void* x, const void* dy, void* dx) {
  for (int64_t i = 0; i < n; ++i) Store<T>(dx, i, Load<T>(dy, i) * GeluSlope(Load<T>(x, i)));
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
  ops.bias_gelu_forward = BiasGeluForward<T>;
  ops.gelu_backward = GeluBackward<T>;
  ops.from_float = FromFloat<T>;
  ops.to_float = ToFloat<T>;
}
template void FillElementwise<float>(Ops&);
template void FillElementwise<BF16>(Ops&);
template void FillElementwise<F16>(Ops&);

}  // namespace ds::kernels::ref
