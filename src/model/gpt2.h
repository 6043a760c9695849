// GPT-2 (Radford et al. 2019) as Hugging Face stores it: learned positions, pre-norm blocks, a head
// tied to the embedding. Composed from blocks; the arithmetic is the layers'.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "device/memory.h"
#include "model/gpt_config.h"
#include "model/head.h"
#include "model/layer.h"
#include "model/model.h"

namespace ds::model {

struct GptOptions {
  // Keep only the input of each block, and compute the rest again in backward: the same bits.
  bool recompute = false;
  const kernels::Ops* ops = nullptr;  // null: the best of the store's dtype
};

class Gpt2 final : public Model {
 public:
  // `gemm`, `account` and what the lane stands for outlive the model. Ids, targets and logits are
  // the host's.
  static Result<std::unique_ptr<Gpt2>> Create(const GptConfig& config, const GptOptions& options,
                                              const device::Lane& lane, kernels::Gemm& gemm,
                                              device::MemoryAccount& account);

  int64_t vocab() const override { return config_.vocab; }
  int64_t context() const override { return config_.context; }
  ParamList params() const override { return params_; }
  Status RegisterParams(ParamStore& store, ParamFill fill) override;
  Result<double> ForwardBackward(const TokenBatch& batch, float loss_scale) override;
  Result<double> ForwardLoss(const TokenBatch& batch) override;
  Status Logits(const TokenBatch& batch, int64_t first, float* logits) override;
  Status Prefill(std::span<const int32_t> ids, float* logits) override;
  Status Decode(int32_t id, float* logits) override;
  int64_t PlanActivationBytes(int64_t batch, int64_t tokens) override;
  int64_t activation_bytes() const override { return memory_.bytes() + cache_memory_.bytes(); }
  std::string HfConfig() const override;

 private:
  enum class Keep { kAll, kBlockInputs, kNothing };  // of a forward pass, for its backward

  Gpt2(const GptConfig& config, const GptOptions& options, const device::Lane& lane,
       kernels::Gemm& gemm, device::MemoryAccount& account);
  Status CheckBatch(const TokenBatch& batch, bool targets) const;
  // Makes the memory hold this shape.
  Status Prepare(Keep keep, const Shape& shape);
  void Place(Keep keep, const Shape& shape, Carver& carver);
  // From ids to the output of the last block; valid until the next Prepare.
  Result<const void*> Forward(const Pass& pass, const int32_t* ids);
  Status BackwardBlocks(const Pass& pass);
  Status BackwardEmbedding(const Pass& pass);
  Status Extend(const int32_t* ids, int64_t tokens, float* logits);

  const GptConfig config_;
  const GptOptions options_;
  const device::Lane lane_;
  kernels::Gemm& gemm_;
  device::MemoryAccount& account_;

  Param wte_, wpe_;
  Param* const embed_params_[2];
  std::vector<Block> blocks_;
  TiedHead head_;
  std::vector<Param*> params_;

  std::optional<Compute> compute_;  // once registered
  device::Buffer memory_, cache_memory_;
  Keep placed_keep_ = Keep::kAll;
  Shape placed_shape_;          // {} when nothing is placed
  std::vector<void*> streams_;  // [i]: input of block i, [layers]: output of the last; [N, C]
  void* d_stream_ = nullptr;    // [N, C]
  int32_t* ids_ = nullptr;      // [N], of the pass
  int64_t cached_tokens_ = 0;
};

}  // namespace ds::model
