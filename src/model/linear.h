// y = x W + b, which the layers share. It hands its gradients to the store as soon as they are
// written.
#pragma once

#include <optional>

#include "model/param_use.h"

namespace ds::model {

// How W lies in memory and in the file.
enum class WeightLayout {
  kInOut,  // [in, out], GPT-2's Conv1D
  kOutIn,  // [out, in], the others' Linear
};

class Linear {
 public:
  struct Options {
    int64_t in, out;
    WeightLayout layout;
    bool bias;
    float stddev;  // of fresh weights
  };
  Linear(const std::string& name, const std::string& unit, const Options& options);

  void AppendParams(std::vector<Param*>& params);
  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  // Null without one. Who comes behind the product adds it, fused where it can.
  const void* bias() const { return bias_.has_value() ? bias_->data : nullptr; }

  // Rows of y, and of dy, may be a part of longer ones, which lie `stride` apart.
  // y [rows, out] = x W, without b.
  void Product(const Compute& compute, int64_t rows, const void* x, int64_t stride, void* y) const;
  // b is added to y, where there is one.
  void AddBias(const Compute& compute, int64_t rows, int64_t stride, void* y) const;
  // dx [rows, in] = dy W^T, or is added to it.
  void InputGrad(const Compute& compute, int64_t rows, int64_t stride, const void* dy,
                 bool accumulate, void* dx) const;
  // The gradients of W and b, from x and dy.
  Status ParamGrads(const Compute& compute, int64_t rows, const void* x, int64_t stride,
                    const void* dy) const;

 private:
  const int64_t in_, out_;
  const WeightLayout layout_;
  Param weight_;
  std::optional<Param> bias_;
};

}  // namespace ds::model
