// The MLP half of a GPT-2 block: y = x + proj(gelu(fc(norm(x)))), four times as wide inside.
#pragma once

#include "model/layer.h"
#include "model/linear.h"

namespace ds::model {

class MlpLayer final : public Layer {
 public:
  struct Options {
    int64_t width;
    float norm_eps;
    float stddev, residual_stddev;  // of fresh weights
  };
  MlpLayer(const std::string& name, const std::string& unit, const Options& options);

  void AppendParams(std::vector<Param*>& params) override;
  void Plan(const Compute& compute, const Shape& shape, Carver& carver) override;
  void PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                   Carver& carver) override;
  Status Forward(const Pass& pass, const void* x, void* y) override;
  Status Backward(const Pass& pass, const void* x, void* dx) override;

 private:
  const int64_t width_, inner_;
  LayerNorm norm_;
  Linear fc_, proj_;

  // Kept from Forward to Backward. N = rows, C = width, F = inner.
  void *normed_ = nullptr, *fc_out_ = nullptr, *gelu_ = nullptr;  // [N, C] [N, F] [N, F]
  float *mean_ = nullptr, *rstd_ = nullptr;                       // [N] [N]
  // Scratch.
  void *d_narrow_ = nullptr, *d_wide_ = nullptr;  // [N, C] [N, F]
};

}  // namespace ds::model
