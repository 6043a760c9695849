#include "model/linear.h"

namespace ds::model {

using kernels::GemmShape;

Linear::Linear(const std::string& name, const std::string& unit, int64_t in, int64_t out,
               float stddev)
    : in(in),
      out(out),
      weight{.spec = {name + ".weight", {in, out}, unit, /*weight_decay=*/true},
             .init = {InitRule::Kind::kNormal, stddev}},
      bias{.spec = {name + ".bias", {out}, unit, /*weight_decay=*/false}, .init = {}} {}

void Linear::Product(const Compute& compute, int64_t rows, const void* x, void* y) const {
  const DType dtype = compute.ops.dtype;
  const GemmShape shape{
      .m = rows, .n = out, .k = in, .lda = in, .ldb = out, .ldc = out, .in = dtype, .out = dtype};
  Matmul(compute.gemm, compute.lane, shape, x, weight.data, y);
}

void Linear::InputGrad(const Compute& compute, int64_t rows, const void* dy, void* dx) const {
  const DType dtype = compute.ops.dtype;
  const GemmShape shape{.m = rows,
                        .n = in,
                        .k = out,
                        .lda = out,
                        .ldb = out,
                        .ldc = in,
                        .trans_b = true,
                        .in = dtype,
                        .out = dtype};
  Matmul(compute.gemm, compute.lane, shape, dy, weight.data, dx);
}

Status Linear::ParamGrads(const Compute& compute, int64_t rows, const void* x,
                          const void* dy) const {
  ParamStore& store = compute.store;
  const DType dtype = compute.ops.dtype;
  DS_ASSIGN(const GradView dw, store.BeginGrad(weight.id));
  const GemmShape shape{.m = in,
                        .n = out,
                        .k = rows,
                        .lda = in,
                        .ldb = out,
                        .ldc = out,
                        .trans_a = true,
                        .accumulate = dw.accumulate,
                        .in = dtype,
                        .out = dtype};
  Matmul(compute.gemm, compute.lane, shape, x, dy, dw.data);
  DS_TRY(store.EndGrad(weight.id));

  DS_ASSIGN(const GradView db, store.BeginGrad(bias.id));
  compute.ops.bias_grad(compute.lane, rows, out, db.accumulate, dy, db.data);
  return store.EndGrad(bias.id);
}

LayerNorm::LayerNorm(const std::string& name, const std::string& unit, int64_t width, float eps)
    : width(width),
      eps(eps),
      weight{.spec = {name + ".weight", {width}, unit, /*weight_decay=*/false},
             .init = {InitRule::Kind::kOnes}},
      bias{.spec = {name + ".bias", {width}, unit, /*weight_decay=*/false}, .init = {}} {}

void LayerNorm::Forward(const Compute& compute, int64_t rows, const void* x, void* y, float* mean,
                        float* rstd) const {
  compute.ops.layer_norm_forward(compute.lane, rows, width, eps, x, weight.data, bias.data, y, mean,
                                 rstd);
}

Status LayerNorm::Backward(const Compute& compute, int64_t rows, const void* x, const float* mean,
                           const float* rstd, const void* dy, void* dx) const {
  ParamStore& store = compute.store;
  DS_ASSIGN(const GradView dw, store.BeginGrad(weight.id));
  DS_ASSIGN(const GradView db, store.BeginGrad(bias.id));
  if (dw.accumulate != db.accumulate) {
    return InvalidState("{}: one of its gradients is to be added to, {} is not", weight.spec.name,
                        bias.spec.name);
  }
  compute.ops.layer_norm_backward(compute.lane, rows, width, dw.accumulate, x, weight.data, mean,
                                  rstd, dy, dx, dw.data, db.data);
  DS_TRY(store.EndGrad(weight.id));
  return store.EndGrad(bias.id);
}

}  // namespace ds::model
