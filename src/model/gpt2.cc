#include "model/gpt2.h"

#include <cmath>

#include "base/trace.h"
#include "model/attention.h"
#include "model/mlp.h"

namespace ds::model {
namespace {

constexpr float kStddev = 0.02f;  // GPT-2's initializer_range

Param Embedding(const std::string& name, int64_t rows, int64_t width) {
  return {.spec = {name, {rows, width}, "embed", /*weight_decay=*/true},
          .init = {InitRule::Kind::kNormal, kStddev}};
}

Block MakeBlock(const GptConfig& config, int64_t layer) {
  // Residual projections start smaller, so that the stream's variance does not grow with depth.
  const float residual = kStddev / std::sqrt(2.0f * static_cast<float>(config.layers));
  const std::string unit = fmt::format("h.{}", layer);
  const std::string name = "transformer." + unit;
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<AttentionLayer>(
      name, unit,
      AttentionLayer::Options{config.width, config.heads, config.norm_eps, kStddev, residual}));
  layers.push_back(std::make_unique<MlpLayer>(
      name, unit, MlpLayer::Options{config.width, config.norm_eps, kStddev, residual}));
  return Block(std::move(layers), config.width);
}

}  // namespace

Result<std::unique_ptr<Gpt2>> Gpt2::Create(const GptConfig& config, const GptOptions& options,
                                           const device::Lane& lane, kernels::Gemm& gemm,
                                           device::MemoryAccount& account) {
  DS_TRY(config.Check());
  return std::unique_ptr<Gpt2>(new Gpt2(config, options, lane, gemm, account));
}

Gpt2::Gpt2(const GptConfig& config, const GptOptions& options, const device::Lane& lane,
           kernels::Gemm& gemm, device::MemoryAccount& account)
    : config_(config),
      options_(options),
      lane_(lane),
      gemm_(gemm),
      account_(account),
      wte_(Embedding("transformer.wte.weight", config.vocab, config.width)),
      wpe_(Embedding("transformer.wpe.weight", config.context, config.width)),
      embed_params_{&wte_, &wpe_},
      head_("transformer.ln_f", "ln_f", config.vocab, config.width, config.norm_eps, wte_),
      streams_(static_cast<size_t>(config.layers) + 1) {
  params_.assign(std::begin(embed_params_), std::end(embed_params_));
  blocks_.reserve(static_cast<size_t>(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(MakeBlock(config, i));
    params_.insert(params_.end(), blocks_.back().params().begin(), blocks_.back().params().end());
  }
  params_.insert(params_.end(), head_.norm_params().begin(), head_.norm_params().end());
}

Status Gpt2::RegisterParams(ParamStore& store, ParamFill fill) {
  if (compute_.has_value()) return InvalidState("the model's parameters are registered already");
  std::vector<float> values;
  for (Param* param : params_) {
    if (store.takes_values()) {
      values.resize(static_cast<size_t>(param->spec.numel()));
      DS_TRY(fill(*param, values));
    }
    DS_ASSIGN(param->id, store.Register(param->spec, values));
  }
  const kernels::Ops& ops =
      options_.ops != nullptr ? *options_.ops : kernels::BestOps(store.dtype());
  if (ops.dtype != store.dtype()) {
    return InvalidArgument("the operations are {}, the parameters {}", DTypeName(ops.dtype),
                           DTypeName(store.dtype()));
  }
  compute_.emplace(Compute{store, lane_, gemm_, ops});
  return {};
}

Status Gpt2::CheckBatch(const TokenBatch& batch, bool targets) const {
  if (!compute_.has_value()) return InvalidState("the model's parameters are not registered yet");
  if (batch.batch < 1 || batch.tokens < 1 || batch.tokens > config_.context ||
      batch.batch > (int64_t{1} << 31) / batch.tokens) {
    return InvalidArgument("a batch of {} sequences of {} tokens, expected 1 to {} tokens",
                           batch.batch, batch.tokens, config_.context);
  }
  for (int64_t i = 0; i < batch.batch * batch.tokens; ++i) {
    if (batch.ids[i] < 0 || batch.ids[i] >= config_.vocab) {
      return InvalidArgument("token {} of the batch is {}, the vocabulary has {}", i, batch.ids[i],
                             config_.vocab);
    }
    if (targets && (batch.targets[i] < -1 || batch.targets[i] >= config_.vocab)) {
      return InvalidArgument("target {} of the batch is {}, the vocabulary has {}", i,
                             batch.targets[i], config_.vocab);
    }
  }
  return {};
}

void Gpt2::Place(Keep keep, const Shape& shape, Carver& carver) {
  const int64_t elements = shape.rows() * config_.width;
  for (size_t i = 0; i < streams_.size(); ++i) {
    const bool reuse = keep == Keep::kNothing && i >= 2;  // two streams take turns
    streams_[i] = reuse ? streams_[i - 2] : carver.Elements(elements);
  }
  ids_ = static_cast<int32_t*>(carver.Bytes(shape.rows() * int64_t{sizeof(int32_t)}));
  const bool backward = keep != Keep::kNothing;
  if (backward) d_stream_ = carver.Elements(elements);
  head_.Plan(*compute_, shape, carver);

  int64_t mark = carver.mark();
  for (Block& block : blocks_) {
    if (keep != Keep::kAll) carver.Rewind(mark);
    block.Plan(*compute_, shape, carver);
  }
  carver.GoBehindAll();
  mark = carver.mark();
  for (Block& block : blocks_) {
    carver.Rewind(mark);
    block.PlanScratch(*compute_, shape, backward, carver);
  }
}

Status Gpt2::Prepare(Keep keep, const Shape& shape) {
  if (keep == placed_keep_ && shape == placed_shape_) return {};
  placed_shape_ = {};
  Carver count(nullptr, compute_->ops.dtype);
  Place(keep, shape, count);
  if (count.bytes() > memory_.bytes()) {
    memory_ = {};  // before the larger one, so that both are never held
    DS_ASSIGN(memory_,
              device::Buffer::Create(account_, device::MemoryKind::kScratch, count.bytes()));
  }
  Carver carver(memory_.data(), compute_->ops.dtype);
  Place(keep, shape, carver);
  placed_keep_ = keep;
  placed_shape_ = shape;
  return {};
}

Result<const void*> Gpt2::Forward(const Pass& pass, const int32_t* ids) {
  lane_.Upload(ids_, ids, pass.shape.rows() * int64_t{sizeof(int32_t)});
  {
    const TraceSpan span(TraceLane::kCompute, "forward", wte_.spec.unit);
    Acquired embed(compute_->store, embed_params_);
    DS_TRY(embed.Acquire());
    const auto* wpe =
        static_cast<const std::byte*>(wpe_.data) +
        pass.past * config_.width * static_cast<int64_t>(DTypeBytes(compute_->ops.dtype));
    compute_->ops.embedding_forward(lane_, pass.shape.rows(), pass.shape.tokens, config_.width,
                                    ids_, wte_.data, wpe, streams_[0]);
    DS_TRY(embed.Release());
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    DS_TRY(blocks_[i].Forward(pass, streams_[i], streams_[i + 1]));
  }
  return streams_.back();
}

Status Gpt2::BackwardBlocks(const Pass& pass) {
  for (size_t i = blocks_.size(); i-- > 0;) {
    // What the last block kept still lies there: nothing but the head ran since.
    const bool recompute = options_.recompute && i + 1 < blocks_.size();
    DS_TRY(blocks_[i].Backward(pass, recompute, streams_[i], d_stream_));
  }
  return {};
}

Status Gpt2::BackwardEmbedding(const Pass& pass) {
  const TraceSpan span(TraceLane::kCompute, "backward", wte_.spec.unit);
  ParamStore& store = compute_->store;
  const Shape& shape = pass.shape;
  DS_ASSIGN(const GradView dwte, store.BeginGrad(wte_.id));
  DS_ASSIGN(const GradView dwpe, store.BeginGrad(wpe_.id));
  if (!dwte.accumulate) {
    return Error(Code::kInternal, "{}: the head's gradient is not there", wte_.spec.name);
  }
  if (!dwpe.accumulate) {  // positions behind the sequences have no gradient
    const int64_t row = config_.width * static_cast<int64_t>(DTypeBytes(compute_->ops.dtype));
    lane_.Zero(static_cast<std::byte*>(dwpe.data) + shape.tokens * row,
               (config_.context - shape.tokens) * row);
  }
  compute_->ops.embedding_backward(lane_, shape.rows(), shape.tokens, config_.width, config_.vocab,
                                   dwpe.accumulate, ids_, d_stream_, dwte.data, dwpe.data);
  DS_TRY(store.EndGrad(wpe_.id));
  return store.EndGrad(wte_.id);
}

Result<double> Gpt2::ForwardBackward(const TokenBatch& batch, float loss_scale) {
  DS_TRY(CheckBatch(batch, /*targets=*/true));
  const Pass pass{.compute = *compute_, .shape = {batch.batch, batch.tokens}};
  DS_TRY(Prepare(options_.recompute ? Keep::kBlockInputs : Keep::kAll, pass.shape));
  DS_ASSIGN(const void* x, Forward(pass, batch.ids));
  DS_ASSIGN(const double loss, head_.LossAndGrad(pass, x, batch.targets, loss_scale, d_stream_));
  DS_TRY(BackwardBlocks(pass));
  DS_TRY(BackwardEmbedding(pass));
  return loss;
}

Result<double> Gpt2::ForwardLoss(const TokenBatch& batch) {
  DS_TRY(CheckBatch(batch, /*targets=*/true));
  const Pass pass{.compute = *compute_, .shape = {batch.batch, batch.tokens}};
  DS_TRY(Prepare(Keep::kNothing, pass.shape));
  DS_ASSIGN(const void* x, Forward(pass, batch.ids));
  return head_.Loss(pass, x, batch.targets);
}

Status Gpt2::Logits(const TokenBatch& batch, int64_t first, float* logits) {
  DS_TRY(CheckBatch(batch, /*targets=*/false));
  if (first < 0 || first >= batch.tokens) {
    return InvalidArgument("logits from position {} on, of {} tokens", first, batch.tokens);
  }
  const Pass pass{.compute = *compute_, .shape = {batch.batch, batch.tokens}};
  DS_TRY(Prepare(Keep::kNothing, pass.shape));
  DS_ASSIGN(const void* x, Forward(pass, batch.ids));
  return head_.Logits(pass, x, first, logits);
}

Status Gpt2::Extend(const int32_t* ids, int64_t tokens, float* logits) {
  const Pass pass{
      .compute = *compute_, .shape = {1, tokens}, .cache = true, .past = cached_tokens_};
  DS_TRY(Prepare(Keep::kNothing, pass.shape));
  DS_ASSIGN(const void* x, Forward(pass, ids));
  DS_TRY(head_.Logits(pass, x, tokens - 1, logits));
  cached_tokens_ += tokens;
  return {};
}

Status Gpt2::Prefill(std::span<const int32_t> ids, float* logits) {
  const auto tokens = static_cast<int64_t>(ids.size());
  DS_TRY(CheckBatch({.batch = 1, .tokens = tokens, .ids = ids.data()}, /*targets=*/false));
  if (cache_memory_.bytes() == 0) {
    const auto place = [this](Carver carver) {
      for (Block& block : blocks_) block.PlanCache(config_.context, carver);
      return carver.bytes();
    };
    const int64_t bytes = place({nullptr, compute_->ops.dtype});
    DS_ASSIGN(cache_memory_, device::Buffer::Create(account_, device::MemoryKind::kScratch, bytes));
    place({cache_memory_.data(), compute_->ops.dtype});
  }
  cached_tokens_ = 0;
  return Extend(ids.data(), tokens, logits);
}

Status Gpt2::Decode(int32_t id, float* logits) {
  if (cached_tokens_ == 0) return InvalidState("Decode without a Prefill before it");
  if (cached_tokens_ == config_.context) {
    return InvalidState("Decode of token {}, the context has {}", cached_tokens_ + 1,
                        config_.context);
  }
  DS_TRY(CheckBatch({.batch = 1, .tokens = 1, .ids = &id}, /*targets=*/false));
  return Extend(&id, 1, logits);
}

int64_t Gpt2::PlanActivationBytes(int64_t batch, int64_t tokens) {
  if (!compute_.has_value()) return 0;
  placed_shape_ = {};  // counting loses what was placed; the next pass places it again
  Carver count(nullptr, compute_->ops.dtype);
  Place(options_.recompute ? Keep::kBlockInputs : Keep::kAll, {batch, tokens}, count);
  return count.bytes();
}

std::string Gpt2::HfConfig() const {
  return ToHfConfig(config_, compute_.has_value() ? compute_->store.dtype() : DType::kF32);
}

}  // namespace ds::model
