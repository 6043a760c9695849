// Normalisation with weights: of whole rows, by mean and variance or by the root mean square, and
// of each head of a row.
#pragma once

#include <optional>

#include "model/arena.h"
#include "model/param_use.h"

namespace ds::model {

enum class NormKind { kLayer, kRms };

// Keeps mean (kLayer only) and rstd of each row in arrays of the caller's. Hands its gradients to
// the store as soon as they are written.
class Norm {
 public:
  Norm(NormKind kind, const std::string& name, const std::string& unit, int64_t width, float eps);

  void AppendParams(std::vector<Param*>& params);
  void PlanScratch(int64_t rows, bool backward, Carver& carver);
  void Forward(const Compute& compute, int64_t rows, const void* x, void* y, float* mean,
               float* rstd) const;
  // dx += the gradient.
  Status Backward(const Compute& compute, int64_t rows, const void* x, const float* mean,
                  const float* rstd, const void* dy, void* dx) const;

  int64_t width() const { return width_; }

 private:
  const int64_t width_;
  const float eps_;
  Param weight_;
  std::optional<Param> bias_;
  float* sums_ = nullptr;  // parts of the gradients of both
};

// The root mean square norm of each of the `heads` vectors of a row, one weight for all (Qwen3).
class HeadNorm {
 public:
  HeadNorm(const std::string& name, const std::string& unit, int64_t heads, int64_t dim, float eps);

  void AppendParams(std::vector<Param*>& params) { params.push_back(&weight_); }
  void PlanScratch(int64_t rows, bool backward, Carver& carver);
  // Rows of x and y lie their strides apart; rstd [rows, heads].
  void Forward(const Compute& compute, int64_t rows, int64_t x_stride, const void* x,
               int64_t y_stride, void* y, float* rstd) const;
  // The gradient of y, rows dy_stride apart, becomes that of x.
  Status Backward(const Compute& compute, int64_t rows, int64_t x_stride, const void* x,
                  const float* rstd, int64_t dy_stride, void* dy) const;

 private:
  const int64_t heads_, dim_;
  const float eps_;
  Param weight_;
  float* sums_ = nullptr;  // parts of its gradient
};

}  // namespace ds::model
