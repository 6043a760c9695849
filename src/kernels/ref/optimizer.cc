#include <cmath>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void Accumulate(TaskPool&, int64_t n, DType g_dtype, const void* g, void* acc) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = WithType(g_dtype, [&](auto type) { return Load<decltype(type)>(g, i); });
    Store<T>(acc, i, Load<T>(acc, i) + value);  // in fp32, as the contract says
  }
}

template <typename T>
void SumOfSquares(TaskPool&, int64_t n, const void* x, double* result) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(Load<T>(x, i)) * Load<T>(x, i);
  *result = sum;
}

template <typename T>
void Adam(TaskPool&, int64_t n, const AdamScalars& s, const void* grad, float* master, float* m,
          float* v, void* weights) {
  for (int64_t i = 0; i < n; ++i) {
    double g = static_cast<double>(Load<T>(grad, i)) * s.grad_scale;
    if (!s.decoupled) g += static_cast<double>(s.weight_decay) * master[i];
    m[i] = static_cast<float>(s.beta1 * static_cast<double>(m[i]) + (1.0 - s.beta1) * g);
    v[i] = static_cast<float>(s.beta2 * static_cast<double>(v[i]) + (1.0 - s.beta2) * g * g);
    double update = (m[i] / static_cast<double>(s.bias1)) /
                    (std::sqrt(v[i] / static_cast<double>(s.bias2)) + s.eps);
    if (s.decoupled) update += static_cast<double>(s.weight_decay) * master[i];
    master[i] = static_cast<float>(master[i] - s.lr * update);
    Store<T>(weights, i, master[i]);
  }
}

}  // namespace

template <typename T>
void FillOptimizer(Ops& ops) {
  ops.accumulate = Accumulate<T>;
  ops.sum_of_squares = SumOfSquares<T>;
  ops.adam = Adam<T>;
}
template void FillOptimizer<float>(Ops&);
template void FillOptimizer<BF16>(Ops&);
template void FillOptimizer<F16>(Ops&);

}  // namespace ds::kernels::ref
