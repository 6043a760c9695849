// y = x W + b, which the layers share, with a low-rank adapter beside W where one is trained (Hu et
// al., "LoRA", 2021): y = x W + b + s (dropout(x) A^T) B^T. It hands its gradients to the store as
// soon as they are written.
#pragma once

#include <optional>

#include "model/arena.h"
#include "model/layer.h"
#include "model/lora.h"
#include "model/param_use.h"

namespace ds::model {

class Linear {
 public:
  struct Options {
    int64_t in, out;
    WeightLayout layout;
    bool bias;
    float stddev;                      // of fresh weights
    const LoraConfig* lora = nullptr;  // an adapter, if this product is one that it names
    uint64_t site = 0;                 // of its dropout
  };
  Linear(const std::string& name, const std::string& unit, const Options& options);

  // They stay where they are from here on.
  void AppendParams(std::vector<Param*>& params);
  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  // Null without one. Who comes behind the product adds it, fused where it can.
  const void* bias() const { return bias_.has_value() ? bias_->data : nullptr; }

  // What it needs while a pass is in it: in Product, and from ParamGrads to InputGrad.
  void PlanScratch(int64_t rows, bool backward, Carver& carver);

  // Rows of y, and of dy, may be a part of longer ones, which lie `stride` apart.
  // y [rows, out] = x W, without b. What an adapter reads of x is dropped out in training.
  void Product(const Pass& pass, const void* x, int64_t stride, void* y) const;
  // b is added to y, where there is one.
  void AddBias(const Compute& compute, int64_t rows, int64_t stride, void* y) const;
  // The gradients of W and b, from x and dy.
  Status ParamGrads(const Pass& pass, const void* x, int64_t stride, const void* dy) const;
  // dx [rows, in] = dy W^T, or is added to it. Behind ParamGrads of the same dy.
  void InputGrad(const Pass& pass, int64_t stride, const void* dy, bool accumulate, void* dx) const;

 private:
  // [rank, in] and [out, rank], as PEFT has them, whatever the layout of W.
  struct Adapter {
    Param a, b;
    LowRank merge;            // of W
    double dropout = 0;       // of x
    uint64_t site = 0;        // ... where it draws
    void* dropped = nullptr;  // x, or the gradient that it is to have, dropped out, [rows, in]
    void* low = nullptr;      // s x A^T, [rows, rank]
    void* d_low = nullptr;    // its gradient times s, [rows, rank]
  };
  kernels::Dropout DropoutOf(const Pass& pass) const;
  // What the adapter reads of x. It gives `low` of it.
  const void* Lower(const Pass& pass, const void* x) const;
  kernels::GemmShape GradShape(int64_t rows, int64_t stride, DType dtype) const;
  Status AdapterGrads(const Pass& pass, const void* x, int64_t stride, const void* dy) const;

  const int64_t in_, out_;
  const WeightLayout layout_;
  Param weight_;
  std::optional<Param> bias_;
  std::optional<Adapter> adapter_;
  float* sums_ = nullptr;  // parts of the gradients of W, then of b
};

}  // namespace ds::model
