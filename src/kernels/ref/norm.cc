#include <cmath>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

// Ba, Kiros & Hinton, "Layer Normalization", 2016.
template <typename T>
void Forward(TaskPool&, int64_t rows, int64_t width, float eps, const void* x, const void* gamma,
             const void* beta, void* y, float* mean, float* rstd) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = r * width;
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < width; ++c) sum += Load<T>(x, row + c);
    const double mu = width > 0 ? sum / static_cast<double>(width) : 0.0;
    for (int64_t c = 0; c < width; ++c) squares += std::pow(Load<T>(x, row + c) - mu, 2);
    const double variance = width > 0 ? squares / static_cast<double>(width) : 0.0;
    mean[r] = static_cast<float>(mu);
    rstd[r] = static_cast<float>(1.0 / std::sqrt(variance + eps));
    for (int64_t c = 0; c < width; ++c) {
      const double xhat = (Load<T>(x, row + c) - static_cast<double>(mean[r])) * rstd[r];
      Store<T>(y, row + c, Load<T>(gamma, c) * xhat + Load<T>(beta, c));
    }
  }
}

template <typename T>
void Backward(TaskPool&, int64_t rows, int64_t width, bool accumulate, const void* x,
              const void* gamma, const float* mean, const float* rstd, const void* dy, void* dx,
              void* dgamma, void* dbeta, float*) {
  const auto xhat = [&](int64_t r, int64_t c) {
    return (Load<T>(x, r * width + c) - static_cast<double>(mean[r])) * rstd[r];
  };
  for (int64_t c = 0; dgamma != nullptr && c < width; ++c) {
    double dg = accumulate ? Load<T>(dgamma, c) : 0.0;
    double db = accumulate && dbeta != nullptr ? Load<T>(dbeta, c) : 0.0;
    for (int64_t r = 0; r < rows; ++r) {
      dg += Load<T>(dy, r * width + c) * xhat(r, c);
      db += Load<T>(dy, r * width + c);
    }
    Store<T>(dgamma, c, dg);
    if (dbeta != nullptr) Store<T>(dbeta, c, db);
  }
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0, dot = 0;  // of dxhat, and of dxhat * xhat
    for (int64_t c = 0; c < width; ++c) {
      const double dxhat = static_cast<double>(Load<T>(dy, r * width + c)) * Load<T>(gamma, c);
      sum += dxhat;
      dot += dxhat * xhat(r, c);
    }
    for (int64_t c = 0; c < width; ++c) {
      const double dxhat = static_cast<double>(Load<T>(dy, r * width + c)) * Load<T>(gamma, c);
      const double n = static_cast<double>(width);
      const double grad = rstd[r] * (dxhat - sum / n - xhat(r, c) * dot / n);
      Store<T>(dx, r * width + c, Load<T>(dx, r * width + c) + grad);
    }
  }
}

// Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019.
template <typename T>
void RmsForward(TaskPool&, int64_t rows, int64_t heads, int64_t width, int64_t x_stride,
                int64_t y_stride, float eps, const void* x, const void* gamma, void* y,
                float* rstd) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t in = r * x_stride + h * width, out = r * y_stride + h * width;
      double squares = 0;
      for (int64_t c = 0; c < width; ++c) squares += std::pow(Load<T>(x, in + c), 2);
      const double mean = width > 0 ? squares / static_cast<double>(width) : 0.0;
      const auto scale = static_cast<float>(1.0 / std::sqrt(mean + eps));
      rstd[r * heads + h] = scale;
      for (int64_t c = 0; c < width; ++c) {
        Store<T>(y, out + c, static_cast<double>(Load<T>(gamma, c)) * Load<T>(x, in + c) * scale);
      }
    }
  }
}

// The weights first: dx may be dy.
template <typename T>
void RmsBackward(TaskPool&, int64_t rows, int64_t heads, int64_t width, int64_t x_stride,
                 int64_t dy_stride, bool accumulate, bool add, const void* x, const void* gamma,
                 const float* rstd, const void* dy, void* dx, void* dgamma, float*) {
  const auto xhat = [&](int64_t r, int64_t h, int64_t c) {
    return static_cast<double>(Load<T>(x, r * x_stride + h * width + c)) * rstd[r * heads + h];
  };
  for (int64_t c = 0; dgamma != nullptr && c < width; ++c) {
    double sum = accumulate ? Load<T>(dgamma, c) : 0.0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        sum += Load<T>(dy, r * dy_stride + h * width + c) * xhat(r, h, c);
      }
    }
    Store<T>(dgamma, c, sum);
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t at = r * dy_stride + h * width;
      double dot = 0;  // of dxhat and xhat
      for (int64_t c = 0; c < width; ++c) {
        dot += static_cast<double>(Load<T>(dy, at + c)) * Load<T>(gamma, c) * xhat(r, h, c);
      }
      for (int64_t c = 0; c < width; ++c) {
        const double dxhat = static_cast<double>(Load<T>(dy, at + c)) * Load<T>(gamma, c);
        const double grad =
            rstd[r * heads + h] * (dxhat - xhat(r, h, c) * dot / static_cast<double>(width));
        Store<T>(dx, at + c, (add ? Load<T>(dx, at + c) : 0.0) + grad);
      }
    }
  }
}

}  // namespace

template <typename T>
void FillNorm(Ops& ops) {
  ops.layer_norm_forward = Forward<T>;
  ops.layer_norm_backward = Backward<T>;
  ops.rms_norm_forward = RmsForward<T>;
  ops.rms_norm_backward = RmsBackward<T>;
}
template void FillNorm<float>(Ops&);
template void FillNorm<BF16>(Ops&);
template void FillNorm<F16>(Ops&);

}  // namespace ds::kernels::ref
