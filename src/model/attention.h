// The attention half of a block: y = x + proj(attention(norm(x))), causal, many heads, which may
// share keys, may be normalised and rotated, and may see a window only.
#pragma once

#include "model/family.h"
#include "model/kv_cache.h"
#include "model/layer.h"
#include "model/linear.h"

namespace ds::model {

class AttentionLayer final : public Layer {
 public:
  // `name`: "transformer.h.0.", `unit`: "h.0".
  AttentionLayer(const DecoderConfig& config, int64_t layer, const std::string& name,
                 const std::string& unit, const LayerOptions& options);

  void AppendParams(std::vector<Param*>& params) override;
  void Plan(const Compute& compute, const Shape& shape, Carver& carver) override;
  void PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                   Carver& carver) override;
  void PlanCache(int64_t context, Carver& carver) override;
  Status Forward(const Pass& pass, const void* x, void* y) override;
  Status Backward(const Pass& pass, const void* x, void* dx) override;

 private:
  void Project(const Pass& pass);
  void Attend(const Pass& pass);
  Status ProjectBackward(const Pass& pass);

  kernels::AttentionShape Kernel(const Pass& pass) const {
    const Shape& shape = pass.shape;
    return {shape.batch, shape.tokens, heads_,
            key_heads_,  dim_,         pass.DropoutAt(site_, dropout_, heads_ * shape.tokens)};
  }
  int64_t out_width() const { return heads_ * dim_; }                     // A
  int64_t qkv_width() const { return (heads_ + 2 * key_heads_) * dim_; }  // Q
  int64_t raw_width() const { return (heads_ + key_heads_) * dim_; }      // R
  // Where the columns of part i of the projections begin in a row.
  int64_t column(size_t part) const {
    return part == 0 ? 0 : out_width() + static_cast<int64_t>(part - 1) * key_heads_ * dim_;
  }

  const int64_t width_, heads_, key_heads_, dim_, window_;
  const bool rotate_;
  const double dropout_;  // of the probabilities
  const uint64_t site_;
  Norm norm_;
  std::vector<Linear> parts_;  // of queries, keys and values; one for all in some families
  std::optional<HeadNorm> query_norm_, key_norm_;
  Linear proj_;
  Residual residual_;

  // Kept from Forward to Backward. N = rows, C = width.
  void *normed_ = nullptr, *qkv_ = nullptr, *attended_ = nullptr;  // [N, C] [N, Q] [N, A]
  void* raw_ = nullptr;                                // before the norm of the heads, [N, R]
  float *query_rstd_ = nullptr, *key_rstd_ = nullptr;  // [N, H] [N, K]
  float *mean_ = nullptr, *rstd_ = nullptr, *lse_ = nullptr;  // [N] [N] [B, H, T]
  // Scratch.
  void *d_narrow_ = nullptr, *d_qkv_ = nullptr;  // [N, max(C, A)] [N, Q]
  void* attention_scratch_ = nullptr;
  KvCache cache_;
};

}  // namespace ds::model
