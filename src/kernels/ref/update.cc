#include <cmath>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void Lion(TaskPool&, int64_t n, const LionScalars& s, const void* grad, float* master, float* m,
          void* weights) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(Load<T>(grad, i)) * s.grad_scale;
    const double c = s.beta1 * static_cast<double>(m[i]) + (1.0 - s.beta1) * g;
    const double kept = master[i] * (1.0 - static_cast<double>(s.lr) * s.weight_decay);
    master[i] = static_cast<float>(kept - std::copysign(static_cast<double>(s.lr), c));
    m[i] = static_cast<float>(s.beta2 * static_cast<double>(m[i]) + (1.0 - s.beta2) * g);
    Store<T>(weights, i, master[i]);
  }
}

template <typename T>
void Adagrad(TaskPool&, int64_t n, const AdagradScalars& s, const void* grad, float* master,
             float* sum, void* weights) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(Load<T>(grad, i)) * s.grad_scale +
                     static_cast<double>(s.weight_decay) * master[i];
    sum[i] = static_cast<float>(sum[i] + g * g);
    const double step = g / (std::sqrt(static_cast<double>(sum[i])) + s.eps);
    master[i] = static_cast<float>(master[i] - s.lr * step);
    Store<T>(weights, i, master[i]);
  }
}

template <typename T>
void Sgd(TaskPool&, int64_t n, const SgdScalars& s, const void* grad, float* master, float* buffer,
         void* weights) {
  for (int64_t i = 0; i < n; ++i) {
    double g = static_cast<double>(Load<T>(grad, i)) * s.grad_scale +
               static_cast<double>(s.weight_decay) * master[i];
    if (s.momentum != 0) {
      const double moved =
          s.first ? g : s.momentum * static_cast<double>(buffer[i]) + (1.0 - s.dampening) * g;
      buffer[i] = static_cast<float>(moved);
      g = s.nesterov ? g + s.momentum * static_cast<double>(buffer[i]) : buffer[i];
    }
    master[i] = static_cast<float>(master[i] - s.lr * g);
    Store<T>(weights, i, master[i]);
  }
}

double LambDirection(const LambScalars& s, double p, double m, double v) {
  const double denominator = s.eps_inside_sqrt ? std::sqrt(v + s.eps) : std::sqrt(v) + s.eps;
  return m / denominator + s.weight_decay * p;
}

template <typename T>
void LambMoments(TaskPool&, int64_t n, const LambScalars& s, const void* grad, const float* master,
                 float* m, float* v, LambSums* result) {
  LambSums sums;
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(Load<T>(grad, i)) * s.grad_scale;
    m[i] = static_cast<float>(s.beta1 * static_cast<double>(m[i]) + (1.0 - s.beta1) * g);
    v[i] = static_cast<float>(s.beta2 * static_cast<double>(v[i]) + (1.0 - s.beta2) * g * g);
    const double u = LambDirection(s, master[i], m[i], v[i]);
    sums.weights += static_cast<double>(master[i]) * master[i];
    sums.direction += u * u;
  }
  *result = sums;
}

template <typename T>
void LambApply(TaskPool&, int64_t n, const LambScalars& s, float step, float* master,
               const float* m, const float* v, void* weights) {
  for (int64_t i = 0; i < n; ++i) {
    master[i] = static_cast<float>(master[i] - step * LambDirection(s, master[i], m[i], v[i]));
    Store<T>(weights, i, master[i]);
  }
}

template <typename T>
void MuonDirection(TaskPool&, int64_t n, const MuonScalars& s, const void* grad, float* momentum,
                   float* direction) {
  const double rest = 1.0 - s.beta;
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(Load<T>(grad, i)) * s.grad_scale;
    momentum[i] = static_cast<float>(momentum[i] + rest * (g - momentum[i]));
    const double m = momentum[i];
    direction[i] = static_cast<float>(s.nesterov ? m - (m - g) * rest : m);
  }
}

template <typename T>
void DecayAndStep(TaskPool&, int64_t n, float lr, float weight_decay, float step,
                  const float* direction, float* master, void* weights) {
  const double keep = 1.0 - static_cast<double>(lr) * weight_decay;
  for (int64_t i = 0; i < n; ++i) {
    master[i] = static_cast<float>(master[i] * keep - static_cast<double>(step) * direction[i]);
    Store<T>(weights, i, master[i]);
  }
}

void Combine(TaskPool&, int64_t n, float a, const float* x, float b, const float* y, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(static_cast<double>(a) * x[i] + static_cast<double>(b) * y[i]);
  }
}

}  // namespace

template <typename T>
void FillUpdate(Ops& ops) {
  ops.lion = Lion<T>;
  ops.adagrad = Adagrad<T>;
  ops.sgd = Sgd<T>;
  ops.lamb_moments = LambMoments<T>;
  ops.lamb_apply = LambApply<T>;
  ops.muon_direction = MuonDirection<T>;
  ops.decay_and_step = DecayAndStep<T>;
  ops.combine = Combine;
}
template void FillUpdate<float>(Ops&);
template void FillUpdate<BF16>(Ops&);
template void FillUpdate<F16>(Ops&);

}  // namespace ds::kernels::ref
