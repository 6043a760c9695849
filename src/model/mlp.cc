#include "model/mlp.h"

namespace ds::model {

MlpLayer::MlpLayer(const std::string& name, const std::string& unit, const Options& options)
    : width_(options.width),
      inner_(4 * options.width),
      norm_(name + ".ln_2", unit, width_, options.norm_eps),
      fc_(name + ".mlp.c_fc", unit, width_, inner_, options.stddev),
      proj_(name + ".mlp.c_proj", unit, inner_, width_, options.residual_stddev) {}

void MlpLayer::AppendParams(std::vector<Param*>& params) {
  params.insert(params.end(),
                {&norm_.weight, &norm_.bias, &fc_.weight, &fc_.bias, &proj_.weight, &proj_.bias});
}

void MlpLayer::Plan(const Compute&, const Shape& shape, Carver& carver) {
  const int64_t rows = shape.rows();
  normed_ = carver.Elements(rows * width_);
  fc_out_ = carver.Elements(rows * inner_);
  gelu_ = carver.Elements(rows * inner_);
  mean_ = carver.Floats(rows);
  rstd_ = carver.Floats(rows);
}

void MlpLayer::PlanScratch(const Compute&, const Shape& shape, bool backward, Carver& carver) {
  if (!backward) return;
  d_narrow_ = carver.Elements(shape.rows() * width_);
  d_wide_ = carver.Elements(shape.rows() * inner_);
}

Status MlpLayer::Forward(const Pass& pass, const void* x, void* y) {
  const Compute& compute = pass.compute;
  const kernels::Ops& ops = compute.ops;
  const int64_t rows = pass.shape.rows();
  norm_.Forward(compute, rows, x, normed_, mean_, rstd_);
  fc_.Product(compute, rows, normed_, fc_out_);
  ops.bias_gelu_forward(compute.lane, rows, inner_, fc_.bias.data, fc_out_, gelu_);
  if (y == nullptr) return {};
  proj_.Product(compute, rows, gelu_, y);
  ops.add_bias_residual(compute.lane, rows, width_, proj_.bias.data, x, y);
  return {};
}

Status MlpLayer::Backward(const Pass& pass, const void* x, void* dx) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  DS_TRY(proj_.ParamGrads(compute, rows, gelu_, dx));
  proj_.InputGrad(compute, rows, dx, d_wide_);
  compute.ops.gelu_backward(compute.lane, rows * inner_, fc_out_, d_wide_, d_wide_);
  DS_TRY(fc_.ParamGrads(compute, rows, normed_, d_wide_));
  fc_.InputGrad(compute, rows, d_wide_, d_narrow_);
  return norm_.Backward(compute, rows, x, mean_, rstd_, d_narrow_, dx);
}

}  // namespace ds::model
