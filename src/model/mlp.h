// The MLP half of a block: y = x + proj(f(norm(x))), f one wide product with GELU, or two with
// SwiGLU.
#pragma once

#include "model/family.h"
#include "model/layer.h"
#include "model/linear.h"
#include "model/norm.h"

namespace ds::model {

// gelu(x W_in)
class GeluLayer final : public Layer {
 public:
  GeluLayer(const DecoderConfig& config, const std::string& name, const std::string& unit,
            const LayerOptions& options);

  void AppendParams(std::vector<Param*>& params) override;
  void Plan(const Compute& compute, const Shape& shape, Carver& carver) override;
  void PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                   Carver& carver) override;
  Status Forward(const Pass& pass, const void* x, void* y) override;
  Status Backward(const Pass& pass, const void* x, void* dx) override;

 private:
  const int64_t width_, inner_;
  const kernels::Gelu gelu_form_;
  Norm norm_;
  Linear fc_, proj_;
  Residual residual_;

  // Kept from Forward to Backward. N = rows, C = width, F = inner.
  void *normed_ = nullptr, *slope_ = nullptr, *gelu_ = nullptr;  // [N, C] [N, F] [N, F]
  float *mean_ = nullptr, *rstd_ = nullptr;                      // [N] [N]
  // Scratch.
  void *d_narrow_ = nullptr, *d_wide_ = nullptr;  // [N, C] [N, F]
};

// silu(x W_gate) (x W_up)
class SwigluLayer final : public Layer {
 public:
  SwigluLayer(const DecoderConfig& config, const std::string& name, const std::string& unit,
              const LayerOptions& options);

  void AppendParams(std::vector<Param*>& params) override;
  void Plan(const Compute& compute, const Shape& shape, Carver& carver) override;
  void PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                   Carver& carver) override;
  Status Forward(const Pass& pass, const void* x, void* y) override;
  Status Backward(const Pass& pass, const void* x, void* dx) override;

 private:
  const int64_t width_, inner_;
  Norm norm_;
  Linear gate_, up_, proj_;
  Residual residual_;

  // Kept from Forward to Backward: gate and up side by side.
  void *normed_ = nullptr, *both_ = nullptr, *gated_ = nullptr;  // [N, C] [N, 2F] [N, F]
  float *mean_ = nullptr, *rstd_ = nullptr;                      // [N] [N]
  // Scratch.
  void *d_narrow_ = nullptr, *d_gated_ = nullptr, *d_both_ = nullptr;  // [N, C] [N, F] [N, 2F]
};

}  // namespace ds::model
