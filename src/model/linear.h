// The two parts with weights that the layers share: y = x W + b, and layer normalisation. Each
// hands its gradients to the store as soon as they are written.
#pragma once

#include "model/param_use.h"

namespace ds::model {

// W is [in, out] (GPT-2's Conv1D), b is [out].
struct Linear {
  Linear(const std::string& name, const std::string& unit, int64_t in, int64_t out, float stddev);

  // y [rows, out] = x W, without b: who comes next adds it, fused where it can.
  void Product(const Compute& compute, int64_t rows, const void* x, void* y) const;
  // dx [rows, in] = dy W^T.
  void InputGrad(const Compute& compute, int64_t rows, const void* dy, void* dx) const;
  // The gradients of W and b, from x and dy.
  Status ParamGrads(const Compute& compute, int64_t rows, const void* x, const void* dy) const;

  int64_t in, out;
  Param weight, bias;
};

// Keeps mean and rstd of each row in arrays of the caller's.
struct LayerNorm {
  LayerNorm(const std::string& name, const std::string& unit, int64_t width, float eps);

  void Forward(const Compute& compute, int64_t rows, const void* x, void* y, float* mean,
               float* rstd) const;
  // dx += the gradient.
  Status Backward(const Compute& compute, int64_t rows, const void* x, const float* mean,
                  const float* rstd, const void* dy, void* dx) const;

  int64_t width;
  float eps;
  Param weight, bias;
};

}  // namespace ds::model
