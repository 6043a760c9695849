// The end of a language model: final norm, logits by a matrix of its own or the embedding, cross
// entropy. Logits exist for a few rows at a time only; how many is fixed by the vocabulary.
#pragma once

#include <vector>

#include "model/family.h"
#include "model/layer.h"

namespace ds::model {

class Head {
 public:
  // `weight` [vocab, width] outlives the head. `tied`: the embedding layer owns it too, and ends
  // its gradient.
  Head(const DecoderConfig& config, Param& weight);

  ParamList norm_params() const { return norm_params_; }
  void Plan(const Compute& compute, const Shape& shape, bool backward, Carver& carver);

  // The losses of the rows, summed in double in row order. Targets [rows], -1 counts for nothing.
  Result<double> Loss(const Pass& pass, const void* x, const int32_t* targets);
  // The same, and gradients times `scale`: dx [rows, width] is overwritten; that of a tied weight
  // is written but not ended, since the embedding layer is still to add its own.
  Result<double> LossAndGrad(const Pass& pass, const void* x, const int32_t* targets, float scale,
                             void* dx);
  // fp32 logits [batch, tokens - first, vocab] of the positions from `first` on.
  Status Logits(const Pass& pass, const void* x, int64_t first, float* logits);
  // Of the same positions the losses [batch, tokens - first] by fp32 logits, those of target -1 0.
  Status TokenLosses(const Pass& pass, const void* x, const int32_t* targets, int64_t first,
                     float* losses);

 private:
  // What the gradient of a chunk goes to; null in a pass without one.
  void Chunk(const Compute& compute, int64_t begin, int64_t rows, float scale,
             const GradView* weight_grad);
  Status Normalise(const Pass& pass, const void* x);  // into normed_
  // Logits of rows of normed_, rounded to that dtype.
  void LogitsOf(const Compute& compute, int64_t begin, int64_t rows, DType dtype, void* logits);
  int64_t wide_rows(const Compute& compute, int64_t rows) const;  // that fit logits_ in fp32
  Result<double> SumOfLosses(const Compute& compute, int64_t rows);
  kernels::GemmShape GradShape(int64_t rows, DType dtype) const;
  int64_t chunk_rows() const;
  std::byte* normed_row(const Compute& compute, int64_t row) const;

  const int64_t vocab_, width_;
  const bool tied_;
  Norm norm_;
  Param& weight_;
  std::vector<Param*> norm_params_;
  Param* const weight_param_[1];

  void *normed_ = nullptr, *logits_ = nullptr;                   // [N, C] [chunk, V]
  float *mean_ = nullptr, *rstd_ = nullptr, *losses_ = nullptr;  // [N] each
  int32_t* targets_ = nullptr;                                   // [N]
  float* weight_sums_ = nullptr;                                 // parts of the gradient
  std::vector<float> host_losses_;                               // [N]
};

}  // namespace ds::model
