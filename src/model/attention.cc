#include "model/attention.h"

#include <algorithm>

#include "model/cached_attention.h"

namespace ds::model {

AttentionLayer::AttentionLayer(const std::string& name, const std::string& unit,
                               const Options& options)
    : width_(options.width),
      heads_(options.heads),
      head_dim_(options.width / options.heads),
      norm_(name + ".ln_1", unit, options.width, options.norm_eps),
      qkv_(name + ".attn.c_attn", unit, options.width, 3 * options.width, options.stddev),
      proj_(name + ".attn.c_proj", unit, options.width, options.width, options.residual_stddev) {}

void AttentionLayer::AppendParams(std::vector<Param*>& params) {
  params.insert(params.end(),
                {&norm_.weight, &norm_.bias, &qkv_.weight, &qkv_.bias, &proj_.weight, &proj_.bias});
}

void AttentionLayer::Plan(const Compute&, const Shape& shape, Carver& carver) {
  const int64_t rows = shape.rows();
  normed_ = carver.Elements(rows * width_);
  qkv_out_ = carver.Elements(rows * 3 * width_);
  attended_ = carver.Elements(rows * width_);
  mean_ = carver.Floats(rows);
  rstd_ = carver.Floats(rows);
  lse_ = carver.Floats(rows * heads_);
}

void AttentionLayer::PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                                 Carver& carver) {
  attention_scratch_ = carver.Bytes(
      compute.ops.attention_scratch_bytes(compute.lane.pool(), shape.tokens, head_dim_));
  if (!backward) return;
  d_narrow_ = carver.Elements(shape.rows() * width_);
  d_qkv_ = carver.Elements(shape.rows() * 3 * width_);
}

void AttentionLayer::PlanCache(int64_t context, Carver& carver) {
  context_ = context;
  keys_ = carver.Elements(context * width_);
  values_ = carver.Elements(context * width_);
  scores_ = carver.Floats(heads_ * context);
}

void AttentionLayer::Attend(const Pass& pass) {
  const Compute& compute = pass.compute;
  const Shape& shape = pass.shape;
  if (pass.cache) {
    const KvCache cache{keys_, values_, scores_, context_};
    AppendToCache(compute.lane, compute.ops.dtype, shape.tokens, pass.past, width_, qkv_out_,
                  cache);
    if (pass.past > 0) {
      AttendToCache(compute.lane, compute.ops.dtype, pass.past + 1, heads_, head_dim_, qkv_out_,
                    cache, attended_);
      return;
    }
  }
  compute.ops.attention_forward(compute.lane, compute.gemm, shape.batch, shape.tokens, heads_,
                                head_dim_, qkv_out_, attended_, lse_, attention_scratch_);
}

Status AttentionLayer::Forward(const Pass& pass, const void* x, void* y) {
  const Compute& compute = pass.compute;
  const kernels::Ops& ops = compute.ops;
  const int64_t rows = pass.shape.rows();
  norm_.Forward(compute, rows, x, normed_, mean_, rstd_);
  qkv_.Product(compute, rows, normed_, qkv_out_);
  ops.add_bias(compute.lane, rows, 3 * width_, qkv_.bias.data, qkv_out_);
  Attend(pass);
  if (y == nullptr) return {};
  proj_.Product(compute, rows, attended_, y);
  ops.add_bias_residual(compute.lane, rows, width_, proj_.bias.data, x, y);
  return {};
}

Status AttentionLayer::Backward(const Pass& pass, const void* x, void* dx) {
  const Compute& compute = pass.compute;
  const Shape& shape = pass.shape;
  const int64_t rows = shape.rows();
  DS_TRY(proj_.ParamGrads(compute, rows, attended_, dx));
  proj_.InputGrad(compute, rows, dx, d_narrow_);
  compute.ops.attention_backward(compute.lane, compute.gemm, shape.batch, shape.tokens, heads_,
                                 head_dim_, qkv_out_, attended_, lse_, d_narrow_, d_qkv_,
                                 attention_scratch_);
  DS_TRY(qkv_.ParamGrads(compute, rows, normed_, d_qkv_));
  qkv_.InputGrad(compute, rows, d_qkv_, d_narrow_);
  return norm_.Backward(compute, rows, x, mean_, rstd_, d_narrow_, dx);
}

}  // namespace ds::model
