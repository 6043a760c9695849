#include "model/attention.h"

#include <algorithm>

namespace ds::model {
namespace {

std::vector<Linear> Projections(const DecoderConfig& config, const std::string& name,
                                const std::string& unit, const LayerOptions& options) {
  const std::vector<std::string>& names = config.family->names.qkv;
  std::vector<Linear> parts;
  parts.reserve(names.size());  // parameters stay where they are
  for (size_t i = 0; i < names.size(); ++i) {
    const int64_t heads = i == 0 ? config.heads : config.key_heads();
    const int64_t out = names.size() == 1 ? config.qkv_width() : heads * config.dim();
    parts.emplace_back(name + names[i], unit,
                       Linear::Options{config.width, out, config.family->layout, config.qkv_bias,
                                       options.stddev, options.lora, options.AdapterSite(i)});
  }
  return parts;
}

}  // namespace

AttentionLayer::AttentionLayer(const DecoderConfig& config, int64_t layer, const std::string& name,
                               const std::string& unit, const LayerOptions& options)
    : width_(config.width),
      heads_(config.heads),
      key_heads_(config.key_heads()),
      dim_(config.dim()),
      window_(config.window_of(layer)),
      rotate_(config.family->positions == Positions::kRope),
      dropout_(config.attention_dropout),
      site_(options.site),
      norm_(config.family->norm, name + config.family->names.attention_norm, unit, config.width,
            config.norm_eps),
      parts_(Projections(config, name, unit, options)),
      proj_(name + config.family->names.attention_out, unit,
            {config.heads * config.dim(), config.width, config.family->layout, config.out_bias,
             options.residual_stddev, options.lora, options.AdapterSite(3)}),
      residual_(config.width, config.residual_dropout, options.site + 1) {
  if (!config.family->qk_norm) return;
  query_norm_.emplace(name + config.family->names.query_norm, unit, heads_, dim_, config.norm_eps);
  key_norm_.emplace(name + config.family->names.key_norm, unit, key_heads_, dim_, config.norm_eps);
}

void AttentionLayer::AppendParams(std::vector<Param*>& params) {
  norm_.AppendParams(params);
  for (Linear& part : parts_) part.AppendParams(params);
  if (query_norm_.has_value()) query_norm_->AppendParams(params);
  if (key_norm_.has_value()) key_norm_->AppendParams(params);
  proj_.AppendParams(params);
}

void AttentionLayer::Plan(const Compute&, const Shape& shape, Carver& carver) {
  const int64_t rows = shape.rows();
  normed_ = carver.Elements(rows * width_);
  qkv_ = carver.Elements(rows * qkv_width());
  attended_ = carver.Elements(rows * out_width());
  mean_ = carver.Floats(rows);
  rstd_ = carver.Floats(rows);
  lse_ = carver.Floats(rows * heads_);
  if (!query_norm_.has_value()) return;
  raw_ = carver.Elements(rows * raw_width());
  query_rstd_ = carver.Floats(rows * heads_);
  key_rstd_ = carver.Floats(rows * key_heads_);
}

void AttentionLayer::PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                                 Carver& carver) {
  residual_.PlanScratch(shape, backward, carver);
  if (backward) {
    d_narrow_ = carver.Elements(shape.rows() * std::max(width_, out_width()));
    d_qkv_ = carver.Elements(shape.rows() * qkv_width());
  }
  const InTurn in_turn(shape.rows(), backward, carver);
  in_turn(norm_), in_turn(proj_);
  for (Linear& part : parts_) in_turn(part);
  if (query_norm_.has_value()) in_turn(*query_norm_), in_turn(*key_norm_);
  in_turn.Restart();
  attention_scratch_ =
      carver.Bytes(compute.ops.attention_scratch_bytes(compute.lane.pool(), shape.tokens, dim_));
}

void AttentionLayer::PlanCache(int64_t context, Carver& carver) {
  cache_.keys = carver.Elements(context * key_heads_ * dim_);
  cache_.values = carver.Elements(context * key_heads_ * dim_);
  cache_.scores = carver.Floats(heads_ * context);
}

// Queries and keys that are normalised by head are kept as they were before, too.
void AttentionLayer::Project(const Pass& pass) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows(), stride = qkv_width();
  const auto to = [&](size_t i) { return compute.at(qkv_, column(i)); };
  for (size_t i = 0; i < parts_.size(); ++i) {
    const bool raw = query_norm_.has_value() && i < 2;
    void* const out = raw ? compute.at(raw_, column(i)) : to(i);
    const int64_t out_stride = raw ? raw_width() : stride;
    parts_[i].Product(pass, normed_, out_stride, out);
    parts_[i].AddBias(compute, rows, out_stride, out);
  }
  if (query_norm_.has_value()) {
    query_norm_->Forward(compute, rows, raw_width(), raw_, stride, to(0), query_rstd_);
    key_norm_->Forward(compute, rows, raw_width(), compute.at(raw_, column(1)), stride, to(1),
                       key_rstd_);
  }
  if (!rotate_) return;
  compute.ops.rope(compute.lane, rows, pass.shape.tokens, heads_ + key_heads_, dim_, stride,
                   /*inverse=*/false, pass.angles, qkv_);
}

void AttentionLayer::Attend(const Pass& pass) {
  const Compute& compute = pass.compute;
  if (pass.cache) {
    AppendToCache(compute.lane, compute.ops.dtype, Kernel(pass), pass.past, qkv_, cache_);
    if (pass.past > 0) {
      const int64_t length = pass.past + 1;
      const int64_t first = window_ > 0 ? std::max<int64_t>(0, length - window_) : 0;
      compute.ops.attention_cached(compute.lane, Kernel(pass), first, length, qkv_, cache_.keys,
                                   cache_.values, cache_.scores, attended_);
      return;
    }
  }
  compute.ops.attention_forward(compute.lane, compute.gemm, Kernel(pass), pass.first_key(window_),
                                qkv_, attended_, lse_, attention_scratch_);
}

Status AttentionLayer::Forward(const Pass& pass, const void* x, void* y) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  norm_.Forward(compute, rows, x, normed_, mean_, rstd_);
  Project(pass);
  Attend(pass);
  if (y == nullptr) return {};
  proj_.Product(pass, attended_, width_, y);
  residual_.Add(pass, proj_.bias(), x, y);
  return {};
}

// From d_qkv_ to the gradient of what the projections read, in d_narrow_.
Status AttentionLayer::ProjectBackward(const Pass& pass) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows(), stride = qkv_width();
  const auto grad = [&](size_t i) { return compute.at(d_qkv_, column(i)); };
  if (rotate_) {
    compute.ops.rope(compute.lane, rows, pass.shape.tokens, heads_ + key_heads_, dim_, stride,
                     /*inverse=*/true, pass.angles, d_qkv_);
  }
  if (query_norm_.has_value()) {
    DS_TRY(query_norm_->Backward(compute, rows, raw_width(), raw_, query_rstd_, stride, grad(0)));
    DS_TRY(key_norm_->Backward(compute, rows, raw_width(), compute.at(raw_, column(1)), key_rstd_,
                               stride, grad(1)));
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    DS_TRY(parts_[i].ParamGrads(pass, normed_, stride, grad(i)));
    parts_[i].InputGrad(pass, stride, grad(i), /*accumulate=*/i > 0, d_narrow_);
  }
  return {};
}

Status AttentionLayer::Backward(const Pass& pass, const void* x, void* dx) {
  const Compute& compute = pass.compute;
  const int64_t rows = pass.shape.rows();
  const void* const dy = residual_.BranchGrad(pass, dx);
  DS_TRY(proj_.ParamGrads(pass, attended_, width_, dy));
  proj_.InputGrad(pass, width_, dy, /*accumulate=*/false, d_narrow_);
  compute.ops.attention_backward(compute.lane, compute.gemm, Kernel(pass), pass.first_key(window_),
                                 qkv_, attended_, lse_, d_narrow_, d_qkv_, attention_scratch_);
  DS_TRY(ProjectBackward(pass));
  return norm_.Backward(compute, rows, x, mean_, rstd_, d_narrow_, dx);
}

}  // namespace ds::model
