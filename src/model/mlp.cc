#include "model/mlp.h"

namespace ds::model {
namespace {

Linear In(const DecoderConfig& config, size_t index, const std::string& name,
          const std::string& unit, const LayerOptions& options) {
  return {name + config.family->names.mlp_in[index],
          unit,
          {config.width, config.mlp_width(), config.family->layout, config.mlp_bias, options.stddev,
           options.lora, options.AdapterSite(4 + index)}};
}
Linear Out(const DecoderConfig& config, const std::string& name, const std::string& unit,
           const LayerOptions& options) {
  return {name + config.family->names.mlp_out,
          unit,
          {config.mlp_width(), config.width, config.family->layout, config.mlp_bias,
           options.residual_stddev, options.lora, options.AdapterSite(6)}};
}

}  // namespace

GeluLayer::GeluLayer(const DecoderConfig& config, const std::string& name, const std::string& unit,
                     const LayerOptions& options)
    : width_(config.width),
      inner_(config.mlp_width()),
      gelu_form_(config.gelu),
      norm_(config.family->norm, name + config.family->names.mlp_norm, unit, width_,
            config.norm_eps),
      fc_(In(config, 0, name, unit, options)),
      proj_(Out(config, name, unit, options)),
      residual_(config.width, config.residual_dropout, options.site + 2) {}

void GeluLayer::AppendParams(std::vector<Param*>& params) {
  norm_.AppendParams(params);
  fc_.AppendParams(params);
  proj_.AppendParams(params);
}

void GeluLayer::Plan(const Compute&, const Shape& shape, Carver& carver) {
  const int64_t rows = shape.rows();
  normed_ = carver.Elements(rows * width_);
  slope_ = carver.Elements(rows * inner_);
  gelu_ = carver.Elements(rows * inner_);
  mean_ = carver.Floats(rows);
  rstd_ = carver.Floats(rows);
}

void GeluLayer::PlanScratch(const Compute&, const Shape& shape, bool backward, Carver& carver) {
  residual_.PlanScratch(shape, backward, carver);
  if (backward) {
    d_narrow_ = carver.Elements(shape.rows() * width_);
    d_wide_ = carver.Elements(shape.rows() * inner_);
  }
  const InTurn in_turn(shape.rows(), backward, carver);
  in_turn(norm_), in_turn(fc_), in_turn(proj_);
}

Status GeluLayer::Forward(const Pass& pass, const void* x, void* y) {
  const Compute& compute = pass.compute;
  const kernels::Ops& ops = compute.ops;
  const int64_t rows = pass.shape.rows();
  norm_.Forward(compute, rows, x, normed_, mean_, rstd_);
  fc_.Product(pass, normed_, inner_, slope_);  // overwritten by the slope there
  ops.bias_gelu_forward(compute.lane, rows, inner_, gelu_form_, fc_.bias(), slope_, gelu_);
  if (y == nullptr) return {};
  proj_.Product(pass, gelu_, width_, y);
  residual_.Add(pass, proj_.bias(), x, y);
  return {};
}

Status GeluLayer::Backward(const Pass& pass, const void* x, void* dx) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  const void* const dy = residual_.BranchGrad(pass, dx);
  DS_TRY(proj_.ParamGrads(pass, gelu_, width_, dy));
  proj_.InputGrad(pass, width_, dy, /*accumulate=*/false, d_wide_);
  compute.ops.multiply(compute.lane, rows * inner_, slope_, d_wide_, d_wide_);
  DS_TRY(fc_.ParamGrads(pass, normed_, inner_, d_wide_));
  fc_.InputGrad(pass, inner_, d_wide_, /*accumulate=*/false, d_narrow_);
  return norm_.Backward(compute, rows, x, mean_, rstd_, d_narrow_, dx);
}

SwigluLayer::SwigluLayer(const DecoderConfig& config, const std::string& name,
                         const std::string& unit, const LayerOptions& options)
    : width_(config.width),
      inner_(config.mlp_width()),
      norm_(config.family->norm, name + config.family->names.mlp_norm, unit, width_,
            config.norm_eps),
      gate_(In(config, 0, name, unit, options)),
      up_(In(config, 1, name, unit, options)),
      proj_(Out(config, name, unit, options)),
      residual_(config.width, config.residual_dropout, options.site + 2) {}

void SwigluLayer::AppendParams(std::vector<Param*>& params) {
  norm_.AppendParams(params);
  gate_.AppendParams(params);
  up_.AppendParams(params);
  proj_.AppendParams(params);
}

void SwigluLayer::Plan(const Compute&, const Shape& shape, Carver& carver) {
  const int64_t rows = shape.rows();
  normed_ = carver.Elements(rows * width_);
  both_ = carver.Elements(rows * 2 * inner_);
  gated_ = carver.Elements(rows * inner_);
  mean_ = carver.Floats(rows);
  rstd_ = carver.Floats(rows);
}

void SwigluLayer::PlanScratch(const Compute&, const Shape& shape, bool backward, Carver& carver) {
  residual_.PlanScratch(shape, backward, carver);
  if (backward) {
    d_narrow_ = carver.Elements(shape.rows() * width_);
    d_gated_ = carver.Elements(shape.rows() * inner_);
    d_both_ = carver.Elements(shape.rows() * 2 * inner_);
  }
  const InTurn in_turn(shape.rows(), backward, carver);
  in_turn(norm_), in_turn(gate_), in_turn(up_), in_turn(proj_);
}

Status SwigluLayer::Forward(const Pass& pass, const void* x, void* y) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  norm_.Forward(compute, rows, x, normed_, mean_, rstd_);
  void* out = both_;
  for (const Linear* in : {&gate_, &up_}) {
    in->Product(pass, normed_, 2 * inner_, out);
    in->AddBias(compute, rows, 2 * inner_, out);
    out = compute.at(out, inner_);
  }
  compute.ops.swiglu_forward(compute.lane, rows, inner_, both_, gated_);
  if (y == nullptr) return {};
  proj_.Product(pass, gated_, width_, y);
  residual_.Add(pass, proj_.bias(), x, y);
  return {};
}

Status SwigluLayer::Backward(const Pass& pass, const void* x, void* dx) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  const void* const dy = residual_.BranchGrad(pass, dx);
  DS_TRY(proj_.ParamGrads(pass, gated_, width_, dy));
  proj_.InputGrad(pass, width_, dy, /*accumulate=*/false, d_gated_);
  compute.ops.swiglu_backward(compute.lane, rows, inner_, both_, d_gated_, d_both_);
  void* grad = d_both_;
  for (const Linear* in : {&gate_, &up_}) {
    DS_TRY(in->ParamGrads(pass, normed_, 2 * inner_, grad));
    in->InputGrad(pass, 2 * inner_, grad, /*accumulate=*/in == &up_, d_narrow_);
    grad = compute.at(grad, inner_);
  }
  return norm_.Backward(compute, rows, x, mean_, rstd_, d_narrow_, dx);
}

}  // namespace ds::model
