// The attention half of a GPT-2 block: y = x + proj(attention(norm(x))), causal, many heads.
#pragma once

#include "model/layer.h"
#include "model/linear.h"

namespace ds::model {

class AttentionLayer final : public Layer {
 public:
  struct Options {
    int64_t width, heads;
    float norm_eps;
    float stddev, residual_stddev;  // of fresh weights
  };
  // `name`: "transformer.h.0", `unit`: "h.0".
  AttentionLayer(const std::string& name, const std::string& unit, const Options& options);

  void AppendParams(std::vector<Param*>& params) override;
  void Plan(const Compute& compute, const Shape& shape, Carver& carver) override;
  void PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                   Carver& carver) override;
  void PlanCache(int64_t context, Carver& carver) override;
  Status Forward(const Pass& pass, const void* x, void* y) override;
  Status Backward(const Pass& pass, const void* x, void* dx) override;

 private:
  void Attend(const Pass& pass);

  const int64_t width_, heads_, head_dim_;
  LayerNorm norm_;
  Linear qkv_, proj_;

  // Kept from Forward to Backward. N = rows, C = width.
  void *normed_ = nullptr, *qkv_out_ = nullptr, *attended_ = nullptr;  // [N, C] [N, 3C] [N, C]
  float *mean_ = nullptr, *rstd_ = nullptr, *lse_ = nullptr;           // [N] [N] [B, H, T]
  // Scratch.
  void *d_narrow_ = nullptr, *d_qkv_ = nullptr;  // [N, C] [N, 3C]
  void* attention_scratch_ = nullptr;
  // The cache, [context, C] each.
  int64_t context_ = 0;
  void *keys_ = nullptr, *values_ = nullptr;
  float* scores_ = nullptr;  // [H, context]
};

}  // namespace ds::model
