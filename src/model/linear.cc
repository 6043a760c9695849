#include "model/linear.h"

#include <algorithm>
#include <cmath>

#include "model/weight_grad.h"

namespace ds::model {

using kernels::GemmShape;

Linear::Linear(const std::string& name, const std::string& unit, const Options& options)
    : in_(options.in),
      out_(options.out),
      layout_(options.layout),
      weight_{.spec = {name + ".weight",
                       layout_ == WeightLayout::kInOut ? std::vector{in_, out_}
                                                       : std::vector{out_, in_},
                       unit, /*weight_decay=*/true},
              .init = {InitRule::Kind::kNormal, options.stddev}} {
  if (options.bias) {
    bias_ = Param{.spec = {name + ".bias", {out_}, unit, /*weight_decay=*/false}, .init = {}};
  }
  if (options.lora == nullptr || !options.lora->Names(name)) return;
  const int64_t rank = options.lora->SizeOf(name).rank;
  // As PEFT begins: A as torch's Linear does, B zero, so that the model is the one below at first.
  const float bound = 1.0f / std::sqrt(static_cast<float>(in_));
  adapter_ = Adapter{.a = {.spec = {name + ".lora_A.weight", {rank, in_}, unit, true},
                           .init = {InitRule::Kind::kUniform, bound}},
                     .b = {.spec = {name + ".lora_B.weight", {out_, rank}, unit, true}, .init = {}},
                     .merge = {.scale = options.lora->ScaleOf(name), .layout = layout_},
                     .dropout = options.lora->dropout,
                     .site = options.site};
}

void Linear::AppendParams(std::vector<Param*>& params) {
  params.push_back(&weight_);
  if (bias_.has_value()) params.push_back(&*bias_);
  if (!adapter_.has_value()) return;
  params.push_back(&adapter_->a);
  params.push_back(&adapter_->b);
  adapter_->merge.a = &adapter_->a;
  adapter_->merge.b = &adapter_->b;
  weight_.adapter = &adapter_->merge;
}

// The operands in the order in which the weights lie.
GemmShape Linear::GradShape(int64_t rows, int64_t stride, DType dtype) const {
  return layout_ == WeightLayout::kOutIn ? WeightGradShape(rows, out_, stride, in_, in_, dtype)
                                         : WeightGradShape(rows, in_, in_, out_, stride, dtype);
}

void Linear::PlanScratch(int64_t rows, bool backward, Carver& carver) {
  if (backward) {
    const int64_t of_bias = bias_.has_value() ? kernels::RowParts(rows) * out_ : 0;
    const GemmShape shape = GradShape(rows, out_, DType::kF32);
    sums_ = carver.Floats(std::max(WeightGradFloats(shape), of_bias));
  }
  if (!adapter_.has_value()) return;
  const int64_t elements = rows * adapter_->a.spec.shape[0];
  adapter_->low = carver.Elements(elements);
  if (backward) adapter_->d_low = carver.Elements(elements);
  if (adapter_->dropout > 0) adapter_->dropped = carver.Elements(rows * in_);
}

kernels::Dropout Linear::DropoutOf(const Pass& pass) const {
  return pass.DropoutAt(adapter_->site, adapter_->dropout, pass.shape.tokens);
}

// What backward needs of it again is a small product: it is not kept.
const void* Linear::Lower(const Pass& pass, const void* x) const {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows(), rank = adapter_->a.spec.shape[0];
  if (const auto dropout = DropoutOf(pass); dropout.drops()) {
    compute.ops.dropout(compute.lane, rows, in_, dropout, x, adapter_->dropped);
    x = adapter_->dropped;
  }
  const GemmShape shape{.m = rows,
                        .n = rank,
                        .k = in_,
                        .lda = in_,
                        .ldb = in_,
                        .ldc = rank,
                        .trans_b = true,
                        .in = compute.ops.dtype,
                        .out = compute.ops.dtype};
  Matmul(compute.gemm, compute.lane, shape, x, adapter_->a.data, adapter_->low);
  compute.ops.scale(compute.lane, rows * rank, adapter_->merge.scale, adapter_->low);
  return x;
}

void Linear::Product(const Pass& pass, const void* x, int64_t stride, void* y) const {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  const bool out_in = layout_ == WeightLayout::kOutIn;
  const DType dtype = compute.ops.dtype;
  GemmShape shape{.m = rows,
                  .n = out_,
                  .k = in_,
                  .lda = in_,
                  .ldb = out_in ? in_ : out_,
                  .ldc = stride,
                  .trans_b = out_in,
                  .in = dtype,
                  .out = dtype};
  Matmul(compute.gemm, compute.lane, shape, x, weight_.data, y);
  if (!adapter_.has_value()) return;
  Lower(pass, x);
  shape.k = shape.lda = shape.ldb = adapter_->a.spec.shape[0];
  shape.trans_b = shape.accumulate = true;
  Matmul(compute.gemm, compute.lane, shape, adapter_->low, adapter_->b.data, y);
}

void Linear::AddBias(const Compute& compute, int64_t rows, int64_t stride, void* y) const {
  if (!bias_.has_value()) return;
  compute.ops.add_bias(compute.lane, rows, out_, stride, bias_->data, y);
}

void Linear::InputGrad(const Pass& pass, int64_t stride, const void* dy, bool accumulate,
                       void* dx) const {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  const bool out_in = layout_ == WeightLayout::kOutIn;
  const DType dtype = compute.ops.dtype;
  GemmShape shape{.m = rows,
                  .n = in_,
                  .k = out_,
                  .lda = stride,
                  .ldb = out_in ? in_ : out_,
                  .ldc = in_,
                  .trans_b = !out_in,
                  .accumulate = accumulate,
                  .in = dtype,
                  .out = dtype};
  Matmul(compute.gemm, compute.lane, shape, dy, weight_.data, dx);
  if (!adapter_.has_value()) return;
  shape.k = shape.lda = adapter_->a.spec.shape[0];
  shape.ldb = in_;
  shape.trans_b = false;
  const kernels::Dropout dropout = DropoutOf(pass);
  shape.accumulate = !dropout.drops();
  void* const to = dropout.drops() ? adapter_->dropped : dx;
  Matmul(compute.gemm, compute.lane, shape, adapter_->d_low, adapter_->a.data, to);
  if (!dropout.drops()) return;
  compute.ops.dropout(compute.lane, rows, in_, dropout, to, to);
  compute.ops.add_bias_residual(compute.lane, rows, in_, nullptr, to, dx);
}

// dB = dy^T low, d_low = s dy B, dA = d_low^T dropout(x).
Status Linear::AdapterGrads(const Pass& pass, const void* x, int64_t stride, const void* dy) const {
  const Compute& compute = pass.compute;
  ParamStore& store = compute.store;
  const int64_t rows = pass.shape.rows();
  const int64_t rank = adapter_->a.spec.shape[0];
  GemmShape shape = WeightGradShape(rows, out_, stride, rank, rank, compute.ops.dtype);
  x = Lower(pass, x);
  DS_ASSIGN(const GradView db, BeginGrad(store, adapter_->b));
  shape.accumulate = db.accumulate;
  Matmul(compute.gemm, compute.lane, shape, dy, adapter_->low, db.data);
  DS_TRY(EndGrad(store, adapter_->b));

  shape.m = rows;
  shape.k = out_;
  shape.trans_a = shape.accumulate = false;
  Matmul(compute.gemm, compute.lane, shape, dy, adapter_->b.data, adapter_->d_low);
  compute.ops.scale(compute.lane, rows * rank, adapter_->merge.scale, adapter_->d_low);

  DS_ASSIGN(const GradView da, BeginGrad(store, adapter_->a));
  shape = WeightGradShape(rows, rank, rank, in_, in_, compute.ops.dtype);
  shape.accumulate = da.accumulate;
  Matmul(compute.gemm, compute.lane, shape, adapter_->d_low, x, da.data);
  return EndGrad(store, adapter_->a);
}

Status Linear::ParamGrads(const Pass& pass, const void* x, int64_t stride, const void* dy) const {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  const bool out_in = layout_ == WeightLayout::kOutIn;
  if (adapter_.has_value()) DS_TRY(AdapterGrads(pass, x, stride, dy));
  DS_ASSIGN(const GradView dw, BeginGrad(compute.store, weight_));
  if (dw.data != nullptr) {
    GemmShape shape = GradShape(rows, stride, compute.ops.dtype);
    shape.accumulate = dw.accumulate;
    WeightGrad(compute, shape, out_in ? dy : x, out_in ? x : dy, dw.data, sums_);
    DS_TRY(EndGrad(compute.store, weight_));
  }
  if (!bias_.has_value() || !bias_->spec.trainable) return {};

  DS_ASSIGN(const GradView db, BeginGrad(compute.store, *bias_));
  compute.ops.bias_grad(compute.lane, rows, out_, stride, db.accumulate, dy, db.data, sums_);
  return EndGrad(compute.store, *bias_);
}

}  // namespace ds::model
