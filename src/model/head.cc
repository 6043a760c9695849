#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/trace.h"
#include "model/weight_grad.h"

namespace ds::model {

using kernels::GemmShape;

Head::Head(const DecoderConfig& config, Param& weight)
    : vocab_(config.vocab),
      width_(config.width),
      tied_(config.tied),
      norm_(config.family->norm, config.family->names.prefix + config.family->names.final_norm,
            config.family->names.final_norm, config.width, config.norm_eps),
      weight_(weight),
      weight_param_{&weight} {
  norm_.AppendParams(norm_params_);
}

// At most 16 Mi logits at once: enough rows that re-reading the gradient of the weight costs
// little beside the product, and no more memory than a layer of the models with such vocabularies.
int64_t Head::chunk_rows() const {
  constexpr int64_t kLogits = int64_t{16} << 20;
  return std::clamp<int64_t>(kLogits / vocab_ / 32 * 32, 64, 2048);
}

std::byte* Head::normed_row(const Compute& compute, int64_t row) const {
  return static_cast<std::byte*>(normed_) +
         row * width_ * static_cast<int64_t>(DTypeBytes(compute.ops.dtype));
}

void Head::Plan(const Compute&, const Shape& shape, bool backward, Carver& carver) {
  const int64_t rows = shape.rows();
  normed_ = carver.Elements(rows * width_);
  // One row of them is to fit in fp32 too.
  logits_ = carver.Elements(std::max<int64_t>(std::min(rows, chunk_rows()), 2) * vocab_);
  mean_ = carver.Floats(rows);
  rstd_ = carver.Floats(rows);
  losses_ = carver.Floats(rows);
  targets_ = static_cast<int32_t*>(carver.Bytes(rows * int64_t{sizeof(int32_t)}));
  if (backward) {
    norm_.PlanScratch(rows, backward, carver);
    const int64_t most = std::min(rows, chunk_rows());
    weight_sums_ = carver.Floats(WeightGradFloats(GradShape(most, DType::kF32)));
  }
  if (!carver.only_counts()) host_losses_.resize(static_cast<size_t>(rows));
}

GemmShape Head::GradShape(int64_t rows, DType dtype) const {
  return WeightGradShape(rows, vocab_, vocab_, width_, width_, dtype);
}

// Loss and gradients of one chunk; the rows of normed_ become their own gradient.
void Head::Chunk(const Compute& compute, int64_t begin, int64_t rows, float scale,
                 const GradView* weight_grad) {
  const DType dtype = compute.ops.dtype;
  void* const normed = normed_row(compute, begin);
  LogitsOf(compute, begin, rows, dtype, logits_);
  compute.ops.cross_entropy(compute.lane, rows, vocab_, scale, targets_ + begin, logits_,
                            losses_ + begin);
  if (weight_grad == nullptr) return;

  if (weight_grad->data != nullptr) {
    GemmShape product = GradShape(rows, dtype);
    product.accumulate = weight_grad->accumulate || begin > 0;
    WeightGrad(compute, product, logits_, normed, weight_grad->data, weight_sums_);
  }
  const GemmShape back{.m = rows,
                       .n = width_,
                       .k = vocab_,
                       .lda = vocab_,
                       .ldb = width_,
                       .ldc = width_,
                       .in = dtype,
                       .out = dtype};
  Matmul(compute.gemm, compute.lane, back, logits_, weight_.data, normed);
}

Result<double> Head::Loss(const Pass& pass, const void* x, const int32_t* targets) {
  const TraceSpan span(TraceLane::kCompute, "loss");
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  compute.lane.Upload(targets_, targets, rows * int64_t{sizeof(int32_t)});
  DS_TRY(Normalise(pass, x));
  Acquired weight(compute.store, weight_param_);
  DS_TRY(weight.Acquire());
  for (int64_t begin = 0; begin < rows; begin += chunk_rows()) {
    Chunk(compute, begin, std::min(chunk_rows(), rows - begin), 1.0f, nullptr);
  }
  DS_TRY(weight.Release());
  return SumOfLosses(compute, rows);
}

Result<double> Head::SumOfLosses(const Compute& compute, int64_t rows) {
  DS_TRY(compute.lane.Download(host_losses_.data(), losses_, rows * int64_t{sizeof(float)}));
  const double sum = std::accumulate(host_losses_.begin(), host_losses_.begin() + rows, 0.0);
  // What makes a NaN gives it a sign, which says nothing and would be printed.
  return std::isnan(sum) ? std::numeric_limits<double>::quiet_NaN() : sum;
}

Result<double> Head::LossAndGrad(const Pass& pass, const void* x, const int32_t* targets,
                                 float scale, void* dx) {
  const TraceSpan span(TraceLane::kCompute, "loss and its gradient");
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  compute.lane.Upload(targets_, targets, rows * int64_t{sizeof(int32_t)});
  Acquired norm(compute.store, norm_params_);
  DS_TRY(norm.Acquire());
  norm_.Forward(compute, rows, x, normed_, mean_, rstd_);
  {
    Acquired weight(compute.store, weight_param_);
    DS_TRY(weight.Acquire());
    DS_ASSIGN(const GradView grad, BeginGrad(compute.store, weight_));
    for (int64_t begin = 0; begin < rows; begin += chunk_rows()) {
      Chunk(compute, begin, std::min(chunk_rows(), rows - begin), scale, &grad);
    }
    if (!tied_) DS_TRY(EndGrad(compute.store, weight_));
    DS_TRY(weight.Release());
  }
  // The residual stream begins here: backward of the norm adds to nothing.
  compute.lane.Zero(dx, rows * width_ * static_cast<int64_t>(DTypeBytes(compute.ops.dtype)));
  DS_TRY(norm_.Backward(compute, rows, x, mean_, rstd_, normed_, dx));
  DS_TRY(norm.Release());
  return SumOfLosses(compute, rows);
}

Status Head::Normalise(const Pass& pass, const void* x) {
  Acquired norm(pass.compute.store, norm_params_);
  DS_TRY(norm.Acquire());
  norm_.Forward(pass.compute, pass.shape.rows(), x, normed_, mean_, rstd_);
  return norm.Release();
}

void Head::LogitsOf(const Compute& compute, int64_t begin, int64_t rows, DType dtype,
                    void* logits) {
  const GemmShape product{.m = rows,
                          .n = vocab_,
                          .k = width_,
                          .lda = width_,
                          .ldb = width_,
                          .ldc = vocab_,
                          .trans_b = true,
                          .in = compute.ops.dtype,
                          .out = dtype};
  Matmul(compute.gemm, compute.lane, product, normed_row(compute, begin), weight_.data, logits);
}

int64_t Head::wide_rows(const Compute& compute, int64_t rows) const {
  const auto bytes = static_cast<int64_t>(DTypeBytes(compute.ops.dtype));
  return std::max<int64_t>(std::min(rows, chunk_rows()) * bytes / int64_t{sizeof(float)}, 1);
}

Status Head::Logits(const Pass& pass, const void* x, int64_t first, float* logits) {
  const Compute& compute = pass.compute;
  const Shape& shape = pass.shape;
  DS_TRY(Normalise(pass, x));
  Acquired weight(compute.store, weight_param_);
  DS_TRY(weight.Acquire());
  const int64_t rows = shape.tokens - first;
  // Where the host has no part in the memory, by way of the chunk of the loss.
  const bool direct = compute.lane.at_once();
  const int64_t at_a_time = direct ? rows : wide_rows(compute, shape.rows());
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t row = 0; row < rows; row += at_a_time) {
      const int64_t count = std::min(at_a_time, rows - row);
      float* const out = logits + (b * rows + row) * vocab_;
      LogitsOf(compute, b * shape.tokens + first + row, count, DType::kF32, direct ? out : logits_);
      if (direct) continue;
      DS_TRY(compute.lane.Download(out, logits_, count * vocab_ * int64_t{sizeof(float)}));
    }
  }
  return weight.Release();
}

Status Head::TokenLosses(const Pass& pass, const void* x, const int32_t* targets, int64_t first,
                         float* losses) {
  const TraceSpan span(TraceLane::kCompute, "losses of tokens");
  const Compute& compute = pass.compute;
  const Shape& shape = pass.shape;
  compute.lane.Upload(targets_, targets, shape.rows() * int64_t{sizeof(int32_t)});
  DS_TRY(Normalise(pass, x));
  Acquired weight(compute.store, weight_param_);
  DS_TRY(weight.Acquire());
  const int64_t each = shape.tokens - first, most = wide_rows(compute, shape.rows());
  for (int64_t b = 0; b < shape.batch; ++b) {
    const int64_t end = (b + 1) * shape.tokens;
    for (int64_t row = end - each; row < end; row += most) {
      const int64_t count = std::min(most, end - row);
      LogitsOf(compute, row, count, DType::kF32, logits_);
      compute.wide.token_losses(compute.lane, count, vocab_, targets_ + row,
                                static_cast<float*>(logits_), losses_ + row);
    }
  }
  DS_TRY(weight.Release());
  for (int64_t b = 0; b < shape.batch; ++b) {
    DS_TRY(compute.lane.Download(losses + b * each, losses_ + b * shape.tokens + first,
                                 each * int64_t{sizeof(float)}));
  }
  return {};
}

}  // namespace ds::model
