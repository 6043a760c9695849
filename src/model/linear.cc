#include "model/linear.h"

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
  if (!options.bias) return;
  bias_ = Param{.spec = {name + ".bias", {out_}, unit, /*weight_decay=*/false}, .init = {}};
}

void Linear::AppendParams(std::vector<Param*>& params) {
  params.push_back(&weight_);
  if (bias_.has_value()) params.push_back(&*bias_);
}

void Linear::Product(const Compute& compute, int64_t rows, const void* x, int64_t stride,
                     void* y) const {
  const bool out_in = layout_ == WeightLayout::kOutIn;
  const DType dtype = compute.ops.dtype;
  const GemmShape shape{.m = rows,
                        .n = out_,
                        .k = in_,
                        .lda = in_,
                        .ldb = out_in ? in_ : out_,
                        .ldc = stride,
                        .trans_b = out_in,
                        .in = dtype,
                        .out = dtype};
  Matmul(compute.gemm, compute.lane, shape, x, weight_.data, y);
}

void Linear::AddBias(const Compute& compute, int64_t rows, int64_t stride, void* y) const {
  if (!bias_.has_value()) return;
  compute.ops.add_bias(compute.lane, rows, out_, stride, bias_->data, y);
}

void Linear::InputGrad(const Compute& compute, int64_t rows, int64_t stride, const void* dy,
                       bool accumulate, void* dx) const {
  const bool out_in = layout_ == WeightLayout::kOutIn;
  const DType dtype = compute.ops.dtype;
  const GemmShape shape{.m = rows,
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
}

Status Linear::ParamGrads(const Compute& compute, int64_t rows, const void* x, int64_t stride,
                          const void* dy) const {
  ParamStore& store = compute.store;
  const DType dtype = compute.ops.dtype;
  const bool out_in = layout_ == WeightLayout::kOutIn;
  DS_ASSIGN(const GradView dw, store.BeginGrad(weight_.id));
  GemmShape shape{.m = in_,
                  .n = out_,
                  .k = rows,
                  .lda = in_,
                  .ldb = stride,
                  .ldc = out_,
                  .trans_a = true,
                  .accumulate = dw.accumulate,
                  .in = dtype,
                  .out = dtype};
  if (out_in) {
    std::swap(shape.m, shape.n);
    std::swap(shape.lda, shape.ldb);
    shape.ldc = in_;
  }
  Matmul(compute.gemm, compute.lane, shape, out_in ? dy : x, out_in ? x : dy, dw.data);
  DS_TRY(store.EndGrad(weight_.id));
  if (!bias_.has_value()) return {};

  DS_ASSIGN(const GradView db, store.BeginGrad(bias_->id));
  compute.ops.bias_grad(compute.lane, rows, out_, stride, db.accumulate, dy, db.data);
  return store.EndGrad(bias_->id);
}

}  // namespace ds::model
