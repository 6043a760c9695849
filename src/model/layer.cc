#include "model/layer.h"

#include "base/trace.h"

namespace ds::model {

void Residual::PlanScratch(const Shape& shape, bool backward, Carver& carver) {
  if (backward && rate_ > 0) d_branch_ = carver.Elements(shape.rows() * width_);
}

void Residual::Add(const Pass& pass, const void* bias, const void* x, void* y) const {
  const Compute& compute = pass.compute;
  const kernels::Dropout dropout = DropoutOf(pass);
  if (dropout.drops()) {
    compute.ops.dropout_residual(compute.lane, pass.shape.rows(), width_, dropout, bias, x, y);
  } else {
    compute.ops.add_bias_residual(compute.lane, pass.shape.rows(), width_, bias, x, y);
  }
}

const void* Residual::BranchGrad(const Pass& pass, const void* dx) const {
  const kernels::Dropout dropout = DropoutOf(pass);
  if (!dropout.drops()) return dx;
  pass.compute.ops.dropout(pass.compute.lane, pass.shape.rows(), width_, dropout, dx, d_branch_);
  return d_branch_;
}

Block::Block(std::vector<std::unique_ptr<Layer>> layers, int64_t width)
    : layers_(std::move(layers)), width_(width), between_(layers_.size() - 1) {
  for (const auto& layer : layers_) layer->AppendParams(params_);
}

void Block::Plan(const Compute& compute, const Shape& shape, Carver& carver) {
  for (const auto& layer : layers_) layer->Plan(compute, shape, carver);
  for (void*& x : between_) x = carver.Elements(shape.rows() * width_);
}

void Block::PlanScratch(const Compute& compute, const Shape& shape, bool backward, Carver& carver) {
  const int64_t mark = carver.mark();
  for (const auto& layer : layers_) {
    carver.Rewind(mark);
    layer->PlanScratch(compute, shape, backward, carver);
  }
}

void Block::PlanCache(int64_t context, Carver& carver) {
  for (const auto& layer : layers_) layer->PlanCache(context, carver);
}

Status Block::RunForward(const Pass& pass, const void* x, void* y) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    void* out = i + 1 < layers_.size() ? between_[i] : y;
    DS_TRY(layers_[i]->Forward(pass, x, out));
    x = out;
  }
  return {};
}

Status Block::Forward(const Pass& pass, const void* x, void* y) {
  const TraceSpan span(TraceLane::kCompute, "forward", params_.front()->spec.unit);
  Acquired unit(pass.compute.store, params_);
  DS_TRY(unit.Acquire());
  DS_TRY(RunForward(pass, x, y));
  return unit.Release();
}

Status Block::Backward(const Pass& pass, bool recompute, const void* x, void* dx) {
  const TraceSpan span(TraceLane::kCompute, "backward", params_.front()->spec.unit);
  Acquired unit(pass.compute.store, params_);
  DS_TRY(unit.Acquire());
  if (recompute) DS_TRY(RunForward(pass, x, nullptr));
  for (size_t i = layers_.size(); i-- > 0;) {
    DS_TRY(layers_[i]->Backward(pass, i > 0 ? between_[i - 1] : x, dx));
  }
  return unit.Release();
}

}  // namespace ds::model
