#include "model/norm.h"

namespace ds::model {
namespace {

Param Ones(const std::string& name, const std::string& unit, int64_t width) {
  return {.spec = {name + ".weight", {width}, unit, /*weight_decay=*/false},
          .init = {InitRule::Kind::kOnes}};
}

}  // namespace

Norm::Norm(NormKind kind, const std::string& name, const std::string& unit, int64_t width,
           float eps)
    : width_(width), eps_(eps), weight_(Ones(name, unit, width)) {
  if (kind == NormKind::kRms) return;
  bias_ = Param{.spec = {name + ".bias", {width}, unit, /*weight_decay=*/false}, .init = {}};
}

void Norm::AppendParams(std::vector<Param*>& params) {
  params.push_back(&weight_);
  if (bias_.has_value()) params.push_back(&*bias_);
}

void Norm::PlanScratch(int64_t rows, bool backward, Carver& carver) {
  if (!backward) return;
  sums_ = carver.Floats((bias_.has_value() ? 2 : 1) * kernels::RowParts(rows) * width_);
}

void Norm::Forward(const Compute& compute, int64_t rows, const void* x, void* y, float* mean,
                   float* rstd) const {
  if (bias_.has_value()) {
    compute.ops.layer_norm_forward(compute.lane, rows, width_, eps_, x, weight_.data, bias_->data,
                                   y, mean, rstd);
  } else {
    compute.ops.rms_norm_forward(compute.lane, rows, /*heads=*/1, width_, width_, width_, eps_, x,
                                 weight_.data, y, rstd);
  }
}

Status Norm::Backward(const Compute& compute, int64_t rows, const void* x, const float* mean,
                      const float* rstd, const void* dy, void* dx) const {
  ParamStore& store = compute.store;
  DS_ASSIGN(const GradView dw, BeginGrad(store, weight_));
  if (!bias_.has_value()) {
    compute.ops.rms_norm_backward(compute.lane, rows, /*heads=*/1, width_, width_, width_,
                                  dw.accumulate, /*add=*/true, x, weight_.data, rstd, dy, dx,
                                  dw.data, sums_);
    return EndGrad(store, weight_);
  }
  DS_ASSIGN(const GradView db, BeginGrad(store, *bias_));
  if (db.data != nullptr && dw.accumulate != db.accumulate) {
    return InvalidState("{}: one of its gradients is to be added to, {} is not", weight_.spec.name,
                        bias_->spec.name);
  }
  compute.ops.layer_norm_backward(compute.lane, rows, width_, dw.accumulate, x, weight_.data, mean,
                                  rstd, dy, dx, dw.data, db.data, sums_);
  DS_TRY(EndGrad(store, weight_));
  return EndGrad(store, *bias_);
}

HeadNorm::HeadNorm(const std::string& name, const std::string& unit, int64_t heads, int64_t dim,
                   float eps)
    : heads_(heads), dim_(dim), eps_(eps), weight_(Ones(name, unit, dim)) {}

void HeadNorm::PlanScratch(int64_t rows, bool backward, Carver& carver) {
  if (backward) sums_ = carver.Floats(kernels::RowParts(rows) * dim_);
}

void HeadNorm::Forward(const Compute& compute, int64_t rows, int64_t x_stride, const void* x,
                       int64_t y_stride, void* y, float* rstd) const {
  compute.ops.rms_norm_forward(compute.lane, rows, heads_, dim_, x_stride, y_stride, eps_, x,
                               weight_.data, y, rstd);
}

Status HeadNorm::Backward(const Compute& compute, int64_t rows, int64_t x_stride, const void* x,
                          const float* rstd, int64_t dy_stride, void* dy) const {
  DS_ASSIGN(const GradView dw, BeginGrad(compute.store, weight_));
  compute.ops.rms_norm_backward(compute.lane, rows, heads_, dim_, x_stride, dy_stride,
                                dw.accumulate, /*add=*/false, x, weight_.data, rstd, dy, dy,
                                dw.data, sums_);
  return EndGrad(compute.store, weight_);
}

}  // namespace ds::model
