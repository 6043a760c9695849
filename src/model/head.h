// The end of a language model: final norm, logits by the tied embedding, cross entropy. Logits
// exist for a few rows at a time only; how many is fixed by the vocabulary.
#pragma once

#include <vector>

#include "model/layer.h"
#include "model/linear.h"

namespace ds::model {

class TiedHead {
 public:
  // `embedding` [vocab, width] outlives the head; the embedding layer owns it.
  TiedHead(const std::string& norm_name, const std::string& unit, int64_t vocab, int64_t width,
           float norm_eps, Param& embedding);

  ParamList norm_params() const { return norm_params_; }
  void Plan(const Compute& compute, const Shape& shape, Carver& carver);

  // The losses of the rows, summed in double in row order. Targets [rows], -1 counts for nothing.
  Result<double> Loss(const Pass& pass, const void* x, const int32_t* targets);
  // The same, and gradients times `scale`: dx [rows, width] is overwritten; that of the embedding
  // is written but not ended, since the embedding layer is still to add its own.
  Result<double> LossAndGrad(const Pass& pass, const void* x, const int32_t* targets, float scale,
                             void* dx);
  // fp32 logits [batch, tokens - first, vocab] of the positions from `first` on.
  Status Logits(const Pass& pass, const void* x, int64_t first, float* logits);

 private:
  // What the gradient of a chunk goes to; null in a pass without one.
  void Chunk(const Compute& compute, int64_t begin, int64_t rows, float scale,
             const GradView* embedding_grad);
  Result<double> SumOfLosses(const Compute& compute, int64_t rows);
  int64_t chunk_rows() const;
  std::byte* normed_row(const Compute& compute, int64_t row) const;

  const int64_t vocab_, width_;
  LayerNorm norm_;
  Param& embedding_;
  Param* const norm_params_[2];
  Param* const embedding_param_[1];

  void *normed_ = nullptr, *logits_ = nullptr;                   // [N, C] [chunk, V]
  float *mean_ = nullptr, *rstd_ = nullptr, *losses_ = nullptr;  // [N] each
  int32_t* targets_ = nullptr;                                   // [N]
  std::vector<float> host_losses_;                               // [N]
};

}  // namespace ds::model
