#include "model/decoder.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "base/trace.h"
#include "model/attention.h"
#include "model/mlp.h"

namespace ds::model {
namespace {

// Streams of random numbers that no parameter's name has: of the embedding, then of the blocks.
constexpr uint64_t kEmbeddingSite = uint64_t{0xD0} << 56, kSites = kEmbeddingSite + 1;
constexpr float kStddev = 0.02f;  // initializer_range of every family

Param Table(const std::string& name, const std::string& unit, int64_t rows, int64_t width) {
  return {.spec = {name + ".weight", {rows, width}, unit, /*weight_decay=*/true},
          .init = {InitRule::Kind::kNormal, kStddev}};
}

Status CheckFirst(int64_t first, int64_t tokens) {
  if (first >= 0 && first < tokens) return {};
  return InvalidArgument("logits from position {} on, of {} tokens", first, tokens);
}

Block MakeBlock(const DecoderConfig& config, const LoraConfig* lora, int64_t layer) {
  const Family& family = *config.family;
  // Residual projections start smaller, so that the stream's variance does not grow with depth.
  const LayerOptions options = {kStddev,
                                kStddev / std::sqrt(2.0f * static_cast<float>(config.layers)), lora,
                                kSites + static_cast<uint64_t>(layer) * Residual::kSites};
  const std::string unit = fmt::format("{}{}", family.names.block, layer);
  const std::string name = family.names.prefix + unit + ".";
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<AttentionLayer>(config, layer, name, unit, options));
  if (family.mlp == MlpKind::kGelu) {
    layers.push_back(std::make_unique<GeluLayer>(config, name, unit, options));
  } else {
    layers.push_back(std::make_unique<SwigluLayer>(config, name, unit, options));
  }
  return Block(std::move(layers), config.width);
}

}  // namespace

Result<std::unique_ptr<Decoder>> Decoder::Create(const DecoderConfig& config,
                                                 const DecoderOptions& options,
                                                 const device::Lane& lane, kernels::Gemm& gemm,
                                                 device::MemoryAccount& account) {
  DS_TRY(config.Check());
  DecoderOptions settled = options;
  if (settled.lora.has_value()) {
    DS_TRY(settled.lora->Check());
    if (settled.lora->chosen.empty()) {
      settled.lora->targets = config.family->Adapted(settled.lora->targets);
    }
  }
  std::unique_ptr<Decoder> decoder(new Decoder(config, settled, lane, gemm, account));
  DS_TRY(decoder->CheckAdapters());
  return decoder;
}

Decoder::Decoder(const DecoderConfig& config, const DecoderOptions& options,
                 const device::Lane& lane, kernels::Gemm& gemm, device::MemoryAccount& account)
    : config_(config),
      options_(options),
      lane_(lane),
      gemm_(gemm),
      account_(account),
      wte_(Table(config.family->names.prefix + config.family->names.embedding, "embed",
                 config.vocab, config.width)),
      wpe_(config.family->positions != Positions::kLearned
               ? std::nullopt
               : std::optional(Table(config.family->names.prefix + config.family->names.positions,
                                     "embed", config.context, config.width))),
      head_weight_(config.tied
                       ? std::nullopt
                       : std::optional(Table(config.family->names.head, config.family->names.head,
                                             config.vocab, config.width))),
      head_(config, head_weight_.has_value() ? *head_weight_ : wte_),
      streams_(static_cast<size_t>(config.layers) + 1) {
  embed_params_.push_back(&wte_);
  if (wpe_.has_value()) embed_params_.push_back(&*wpe_);
  params_ = embed_params_;
  blocks_.reserve(static_cast<size_t>(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(MakeBlock(config, lora(), i));
    params_.insert(params_.end(), blocks_.back().params().begin(), blocks_.back().params().end());
  }
  params_.insert(params_.end(), head_.norm_params().begin(), head_.norm_params().end());
  if (head_weight_.has_value()) params_.push_back(&*head_weight_);
  for (Param* param : params_) {
    const std::string& name = param->spec.name;
    if (lora() != nullptr) {
      const bool whole = (lora()->embedding && param == &wte_) ||
                         (lora()->head && head_weight_.has_value() && param == &*head_weight_);
      param->spec.trainable = whole || IsLora(name);
    }
    if (!options.train_biases && name.ends_with(".bias")) param->spec.trainable = false;
  }
}

Status Decoder::CheckAdapters() const {
  if (lora() == nullptr) return {};
  bool any = !lora()->chosen.empty();  // of the weights that are there
  const std::string* none = nullptr;
  for (const std::string& target : lora()->targets) {
    const LoraConfig alone{.targets = {target}};
    const bool found = std::any_of(params_.begin(), params_.end(), [&](const Param* param) {
      const std::string_view name = param->spec.name;
      return param->adapter != nullptr && alone.Names(name.substr(0, name.rfind('.')));
    });
    any |= found;
    if (!found && none == nullptr) none = &target;
  }
  if (none == nullptr || (lora()->universal && any)) return {};
  return Error(Code::kConfig, "an adapter for \"{}\": this {} has {}", *none,
               config_.family->model_type,
               fmt::join(config_.family->Adapted({"all-linear"}), ", "));
}

// What no shape shows, and what changes the numbers that a rank computes, or when it gathers.
std::string Decoder::Settings(DType dtype) const {
  std::string lines;
  const std::string config = HfConfig(dtype);
  for (size_t at = 0, end; at < config.size(); at = end) {
    end = std::min(config.size(), config.find('\n', at)) + 1;
    const std::string_view line = std::string_view(config).substr(at, end - at);
    if (line.find("_token_id\"") == line.npos) lines += line;  // those end a text, no more
  }
  lines += fmt::format("\nrecompute {}\ncache of {} tokens", options_.recompute, cache_tokens());
  const double adapters_drop = lora() != nullptr ? lora()->dropout : 0;
  if (config_.attention_dropout + config_.embedding_dropout + config_.residual_dropout +
          adapters_drop >
      0) {
    lines += fmt::format("\nseed {} of dropout", options_.seed);
  }
  if (lora() != nullptr) lines += fmt::format("\nadapters' dropout {}", adapters_drop);
  for (const Param* param : params_) {
    if (param->adapter == nullptr) continue;
    lines += fmt::format("\nadapter of {} times {}", param->spec.name, param->adapter->scale);
  }
  return lines;
}

Status Decoder::RegisterParams(ParamStore& store, ValuesOf values_of) {
  if (compute_.has_value()) return InvalidState("the model's parameters are registered already");
  int64_t elements = 0;
  for (const Param* param : params_) elements += param->spec.numel();
  DS_TRY(store.Reserve(static_cast<int64_t>(params_.size()), elements));
  store.DeclareSettings(Settings(store.dtype()));
  for (Param* param : params_) {
    DS_ASSIGN(ParamValues values, values_of(*param));
    DS_ASSIGN(param->id, store.Register(param->spec, std::move(values)));
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

// Positions that are learned end with the context, and so does what a rotation was made for, but
// where it is stretched with the sequence.
int64_t Decoder::longest() const {
  constexpr int64_t kMost = int64_t{1} << 24;
  const bool stretches = !learned() && config_.rope.scaling == RopeScaling::kDynamic;
  return stretches ? kMost : config_.context;
}

int64_t Decoder::cache_tokens() const {
  return options_.cache_tokens > 0 ? std::min(options_.cache_tokens, longest()) : config_.context;
}

Status Decoder::CheckBatch(const TokenBatch& batch, bool targets) const {
  if (!compute_.has_value()) return InvalidState("the model's parameters are not registered yet");
  if (batch.batch < 1 || batch.tokens < 1 || batch.tokens > longest() ||
      batch.batch > (int64_t{1} << 31) / batch.tokens) {
    return InvalidArgument("a batch of {} sequences of {} tokens, expected 1 to {} tokens",
                           batch.batch, batch.tokens, longest());
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
  return CheckFirstKeys(batch);
}

Status Decoder::CheckFirstKeys(const TokenBatch& batch) const {
  if (batch.first_keys == nullptr) return {};
  for (int64_t i = 0; i < batch.batch * batch.tokens; ++i) {
    const int64_t t = i % batch.tokens, least = t == 0 ? 0 : batch.first_keys[i - 1];
    if (batch.first_keys[i] < least || batch.first_keys[i] > t) {
      return InvalidArgument("the first key of token {} of sequence {} is {}, expected {} to {}", t,
                             i / batch.tokens, batch.first_keys[i], least, t);
    }
  }
  return {};
}

void Decoder::Place(Keep keep, const Shape& shape, Carver& carver) {
  const int64_t elements = shape.rows() * config_.width;
  for (size_t i = 0; i < streams_.size(); ++i) {
    const bool reuse = keep == Keep::kNothing && i >= 2;  // two streams take turns
    streams_[i] = reuse ? streams_[i - 2] : carver.Elements(elements);
  }
  for (int32_t** rows : {&ids_, &positions_, &first_keys_, &windowed_keys_}) {
    *rows = static_cast<int32_t*>(carver.Bytes(shape.rows() * int64_t{sizeof(int32_t)}));
  }
  if (!learned()) angles_ = carver.Floats(shape.tokens * config_.dim());
  const bool backward = keep != Keep::kNothing;
  if (backward) d_stream_ = carver.Elements(elements);
  head_.Plan(*compute_, shape, backward, carver);

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

Status Decoder::Prepare(Keep keep, const Shape& shape) {
  if (keep == placed_keep_ && shape == placed_shape_) return {};
  placed_shape_ = {};
  angles_from_ = -1;
  Carver count(nullptr, compute_->ops.dtype);
  Place(keep, shape, count);
  if (count.bytes() > memory_.bytes()) {
    memory_ = {};  // before the larger one, so that both are never held
    DS_ASSIGN(memory_,
              device::Buffer::Create(account_, device::MemoryKind::kScratch, count.bytes()));
  }
  Carver carver(memory_.data(), compute_->ops.dtype);
  Place(keep, shape, carver);
  host_rows_.resize(static_cast<size_t>(shape.rows()));
  if (!learned()) host_angles_.resize(static_cast<size_t>(shape.tokens * config_.dim()));
  placed_keep_ = keep;
  placed_shape_ = shape;
  return {};
}

void Decoder::FillAngles(int64_t past, int64_t tokens) {
  if (angles_from_ == past) return;
  config_.rope.Fill(config_.dim(), config_.context, past, tokens, host_angles_);
  lane_.Upload(angles_, host_angles_.data(),
               static_cast<int64_t>(host_angles_.size() * sizeof(float)));
  angles_from_ = past;
}

kernels::Dropout Decoder::EmbeddingDropout(const Pass& pass) const {
  return pass.DropoutAt(kEmbeddingSite, config_.embedding_dropout, pass.shape.tokens);
}

Pass Decoder::Begin(const TokenBatch& batch, bool cache, bool trains) {
  const int64_t past = cache ? cached_tokens_ : 0;
  Pass pass{.compute = *compute_,
            .shape = {batch.batch, batch.tokens},
            .cache = cache,
            .past = past,
            .angles = angles_,
            .trains = trains,
            .seed = options_.seed,
            .first_sequence = batch.first_sequence};
  const int64_t rows = pass.shape.rows();
  const auto first = [&](int64_t row) {
    return batch.first_keys == nullptr ? 0 : batch.first_keys[row];
  };
  const auto send = [&](int32_t* to, const auto& value) {
    for (int64_t row = 0; row < rows; ++row) {
      host_rows_[static_cast<size_t>(row)] = static_cast<int32_t>(value(row, row % batch.tokens));
    }
    lane_.Upload(to, host_rows_.data(), rows * int64_t{sizeof(int32_t)});
  };
  lane_.Upload(ids_, batch.ids, rows * int64_t{sizeof(int32_t)});
  if (learned()) {
    // Where a document, or what stands behind the padding, begins, positions begin again.
    send(positions_, [&](int64_t row, int64_t t) { return past + t - first(row); });
  } else {
    FillAngles(past, batch.tokens);
  }
  if (batch.first_keys != nullptr) {
    lane_.Upload(first_keys_, batch.first_keys, rows * int64_t{sizeof(int32_t)});
    pass.first_keys = first_keys_;
  }
  pass.windowed_keys = pass.first_keys;
  if (config_.window > 0 && batch.tokens > config_.window) {
    send(windowed_keys_, [&](int64_t row, int64_t t) {
      return std::max<int64_t>(first(row), t - config_.window + 1);
    });
    pass.windowed_keys = windowed_keys_;
  }
  return pass;
}

Result<const void*> Decoder::Forward(const Pass& pass) {
  {
    const TraceSpan span(TraceLane::kCompute, "forward", wte_.spec.unit);
    Acquired embed(compute_->store, embed_params_);
    DS_TRY(embed.Acquire());
    compute_->ops.embedding_forward(lane_, pass.shape.rows(), config_.width, ids_, positions_,
                                    wte_.data, learned() ? wpe_->data : nullptr, streams_[0]);
    if (const auto dropout = EmbeddingDropout(pass); dropout.drops()) {
      compute_->ops.dropout(lane_, pass.shape.rows(), config_.width, dropout, streams_[0],
                            streams_[0]);
    }
    DS_TRY(embed.Release());
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    DS_TRY(blocks_[i].Forward(pass, streams_[i], streams_[i + 1]));
  }
  return streams_.back();
}

Status Decoder::BackwardBlocks(const Pass& pass) {
  for (size_t i = blocks_.size(); i-- > 0;) {
    // What the last block kept still lies there: nothing but the head ran since.
    const bool recompute = options_.recompute && i + 1 < blocks_.size();
    DS_TRY(blocks_[i].Backward(pass, recompute, streams_[i], d_stream_));
  }
  return {};
}

// The rows of the stream's gradient go to those of the table that they came from.
Status Decoder::AddEmbeddingGrad(const Pass& pass, const Param& table, const int32_t* ids) {
  DS_ASSIGN(const GradView grad, BeginGrad(compute_->store, table));
  if (grad.data == nullptr) return {};
  const int64_t rows = table.spec.shape[0];
  if (!grad.accumulate) {
    if (&table == &wte_ && config_.tied) {
      return Error(Code::kInternal, "{}: the head's gradient is not there", table.spec.name);
    }
    lane_.Zero(grad.data,
               table.spec.numel() * static_cast<int64_t>(DTypeBytes(compute_->ops.dtype)));
  }
  compute_->ops.embedding_backward(lane_, pass.shape.rows(), config_.width, rows, ids, d_stream_,
                                   grad.data);
  return EndGrad(compute_->store, table);
}

Status Decoder::BackwardEmbedding(const Pass& pass, const int32_t* ids) {
  const TraceSpan span(TraceLane::kCompute, "backward", wte_.spec.unit);
  if (const auto dropout = EmbeddingDropout(pass); dropout.drops()) {
    compute_->ops.dropout(lane_, pass.shape.rows(), config_.width, dropout, d_stream_, d_stream_);
  }
  if (learned()) DS_TRY(AddEmbeddingGrad(pass, *wpe_, positions_));
  const int64_t padding = config_.padding_row();
  const int64_t row_bytes = config_.width * static_cast<int64_t>(DTypeBytes(compute_->ops.dtype));
  for (int64_t row = 0; padding >= 0 && row < pass.shape.rows(); ++row) {
    if (ids[row] == padding) {
      lane_.Zero(static_cast<std::byte*>(d_stream_) + row * row_bytes, row_bytes);
    }
  }
  return AddEmbeddingGrad(pass, wte_, ids_);
}

Result<double> Decoder::ForwardBackward(const TokenBatch& batch, float loss_scale) {
  DS_TRY(CheckBatch(batch, /*targets=*/true));
  DS_TRY(
      Prepare(options_.recompute ? Keep::kBlockInputs : Keep::kAll, {batch.batch, batch.tokens}));
  const Pass pass = Begin(batch, /*cache=*/false, /*trains=*/true);
  DS_ASSIGN(const void* x, Forward(pass));
  DS_ASSIGN(const double loss, head_.LossAndGrad(pass, x, batch.targets, loss_scale, d_stream_));
  DS_TRY(BackwardBlocks(pass));
  DS_TRY(BackwardEmbedding(pass, batch.ids));
  return loss;
}

Result<double> Decoder::ForwardLoss(const TokenBatch& batch) {
  DS_TRY(CheckBatch(batch, /*targets=*/true));
  DS_TRY(Prepare(Keep::kNothing, {batch.batch, batch.tokens}));
  const Pass pass = Begin(batch, /*cache=*/false);
  DS_ASSIGN(const void* x, Forward(pass));
  return head_.Loss(pass, x, batch.targets);
}

Status Decoder::TokenLosses(const TokenBatch& batch, int64_t first, float* losses) {
  DS_TRY(CheckBatch(batch, /*targets=*/true));
  DS_TRY(CheckFirst(first, batch.tokens));
  DS_TRY(Prepare(Keep::kNothing, {batch.batch, batch.tokens}));
  const Pass pass = Begin(batch, /*cache=*/false);
  DS_ASSIGN(const void* x, Forward(pass));
  return head_.TokenLosses(pass, x, batch.targets, first, losses);
}

Status Decoder::Logits(const TokenBatch& batch, int64_t first, float* logits) {
  DS_TRY(CheckBatch(batch, /*targets=*/false));
  DS_TRY(CheckFirst(first, batch.tokens));
  DS_TRY(Prepare(Keep::kNothing, {batch.batch, batch.tokens}));
  const Pass pass = Begin(batch, /*cache=*/false);
  DS_ASSIGN(const void* x, Forward(pass));
  return head_.Logits(pass, x, first, logits);
}

Status Decoder::Extend(const int32_t* ids, int64_t tokens, float* logits) {
  DS_TRY(Prepare(Keep::kNothing, {1, tokens}));
  const Pass pass = Begin({.batch = 1, .tokens = tokens, .ids = ids}, /*cache=*/true);
  DS_ASSIGN(const void* x, Forward(pass));
  DS_TRY(head_.Logits(pass, x, tokens - 1, logits));
  cached_tokens_ += tokens;
  return {};
}

Status Decoder::Prefill(std::span<const int32_t> ids, float* logits) {
  const auto tokens = static_cast<int64_t>(ids.size());
  DS_TRY(CheckBatch({.batch = 1, .tokens = tokens, .ids = ids.data()}, /*targets=*/false));
  if (tokens > cache_tokens()) {
    return InvalidArgument("a prompt of {} tokens, the cache has {}", tokens, cache_tokens());
  }
  if (cache_memory_.bytes() == 0) {
    const auto place = [this](Carver carver) {
      for (Block& block : blocks_) block.PlanCache(cache_tokens(), carver);
      return carver.bytes();
    };
    const int64_t bytes = place({nullptr, compute_->ops.dtype});
    DS_ASSIGN(cache_memory_, device::Buffer::Create(account_, device::MemoryKind::kScratch, bytes));
    place({cache_memory_.data(), compute_->ops.dtype});
  }
  cached_tokens_ = 0;
  return Extend(ids.data(), tokens, logits);
}

Status Decoder::Decode(int32_t id, float* logits) {
  if (cached_tokens_ == 0) return InvalidState("Decode without a Prefill before it");
  if (cached_tokens_ == cache_tokens()) {
    return InvalidState("Decode of token {}, the cache has {}", cached_tokens_ + 1, cache_tokens());
  }
  DS_TRY(CheckBatch({.batch = 1, .tokens = 1, .ids = &id}, /*targets=*/false));
  return Extend(&id, 1, logits);
}

int64_t Decoder::PlanActivationBytes(int64_t batch, int64_t tokens) {
  if (!compute_.has_value()) return 0;
  placed_shape_ = {};  // counting loses what was placed; the next pass places it again
  Carver count(nullptr, compute_->ops.dtype);
  Place(options_.recompute ? Keep::kBlockInputs : Keep::kAll, {batch, tokens}, count);
  return count.bytes();
}

std::string Decoder::HfConfig(DType dtype) const { return ToHfConfig(config_, dtype); }

std::string_view Decoder::name_prefix() const { return config_.family->names.prefix; }

}  // namespace ds::model
