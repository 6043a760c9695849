// A decoder-only language model of any of the families (model/family.h): embedding, blocks, head.
// Composed from layers; the arithmetic is theirs.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "device/memory.h"
#include "model/decoder_config.h"
#include "model/head.h"
#include "model/layer.h"
#include "model/model.h"

namespace ds::model {

struct DecoderOptions {
  // Keep only the input of each block, and compute the rest again in backward: the same bits.
  bool recompute = false;
  int64_t cache_tokens = 0;           // most tokens of a generation, prompt and all; 0: the context
  const kernels::Ops* ops = nullptr;  // null: the best of the store's dtype
  // Adapters are trained, and what it names whole beside them; the rest is frozen.
  std::optional<LoraConfig> lora = {};
  bool train_biases = true;  // false: they stay as they begin
  uint64_t seed = 0;         // of dropout
};

class Decoder final : public Model {
 public:
  // `gemm`, `account` and what the lane stands for outlive the model. Ids, targets and logits are
  // the host's.
  static Result<std::unique_ptr<Decoder>> Create(const DecoderConfig& config,
                                                 const DecoderOptions& options,
                                                 const device::Lane& lane, kernels::Gemm& gemm,
                                                 device::MemoryAccount& account);

  int64_t vocab() const override { return config_.vocab; }
  int64_t context() const override { return config_.context; }
  int64_t longest() const;  // tokens of a sequence that is read at once
  const DecoderConfig& config() const { return config_; }
  ParamList params() const override { return params_; }
  Status RegisterParams(ParamStore& store, ValuesOf values_of) override;
  Result<double> ForwardBackward(const TokenBatch& batch, float loss_scale) override;
  Result<double> ForwardLoss(const TokenBatch& batch) override;
  Status Logits(const TokenBatch& batch, int64_t first, float* logits) override;
  Status TokenLosses(const TokenBatch& batch, int64_t first, float* losses) override;
  Status Prefill(std::span<const int32_t> ids, float* logits) override;
  Status Decode(int32_t id, float* logits) override;
  int64_t PlanActivationBytes(int64_t batch, int64_t tokens) override;
  int64_t activation_bytes() const override { return memory_.bytes() + cache_memory_.bytes(); }
  std::string HfConfig(DType dtype) const override;
  std::string_view name_prefix() const override;
  const LoraConfig* lora() const override {
    return options_.lora.has_value() ? &*options_.lora : nullptr;
  }

 private:
  enum class Keep { kAll, kBlockInputs, kNothing };  // of a forward pass, for its backward

  Decoder(const DecoderConfig& config, const DecoderOptions& options, const device::Lane& lane,
          kernels::Gemm& gemm, device::MemoryAccount& account);
  Status CheckBatch(const TokenBatch& batch, bool targets) const;
  Status CheckFirstKeys(const TokenBatch& batch) const;
  Status CheckAdapters() const;
  std::string Settings(DType dtype) const;  // which all ranks have alike, one a line
  // Makes the memory hold this shape.
  Status Prepare(Keep keep, const Shape& shape);
  void Place(Keep keep, const Shape& shape, Carver& carver);
  // What the layers of a pass read beside the stream: where tokens stand, and what they see.
  Pass Begin(const TokenBatch& batch, bool cache, bool trains = false);
  kernels::Dropout EmbeddingDropout(const Pass& pass) const;
  void FillAngles(int64_t past, int64_t tokens);
  // From ids to the output of the last block; valid until the next Prepare.
  Result<const void*> Forward(const Pass& pass);
  Status BackwardBlocks(const Pass& pass);
  Status BackwardEmbedding(const Pass& pass, const int32_t* ids);
  Status AddEmbeddingGrad(const Pass& pass, const Param& table, const int32_t* ids);
  Status Extend(const int32_t* ids, int64_t tokens, float* logits);

  bool learned() const { return wpe_.has_value(); }
  int64_t cache_tokens() const;

  const DecoderConfig config_;
  const DecoderOptions options_;
  const device::Lane lane_;
  kernels::Gemm& gemm_;
  device::MemoryAccount& account_;

  Param wte_;
  std::optional<Param> wpe_, head_weight_;
  std::vector<Param*> embed_params_;
  std::vector<Block> blocks_;
  Head head_;
  std::vector<Param*> params_;

  std::optional<Compute> compute_;  // once registered
  device::Buffer memory_, cache_memory_;
  Keep placed_keep_ = Keep::kAll;
  Shape placed_shape_;          // {} when nothing is placed
  std::vector<void*> streams_;  // [i]: input of block i, [layers]: output of the last; [N, C]
  void* d_stream_ = nullptr;    // [N, C]
  // Of the pass, [N] each: ids, positions, and the first key of each row without and with a window.
  int32_t *ids_ = nullptr, *positions_ = nullptr;
  int32_t *first_keys_ = nullptr, *windowed_keys_ = nullptr;
  std::vector<int32_t> host_rows_;  // one of them, on its way
  float* angles_ = nullptr;         // [T, D]
  std::vector<float> host_angles_;
  int64_t angles_from_ = -1;  // the position they begin at; -1: not filled
  int64_t cached_tokens_ = 0;
};

}  // namespace ds::model
