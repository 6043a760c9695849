// A language model over a ParamStore: what training, evaluation and generation may ask of any
// family. Who shards the parameters and who steps them is not its concern.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/function_ref.h"
#include "base/status.h"
#include "model/lora.h"
#include "model/param_use.h"

namespace ds::model {

// ids and targets [batch, tokens]; a target of -1 counts for nothing.
struct TokenBatch {
  int64_t batch = 0, tokens = 0;
  const int32_t* ids = nullptr;
  const int32_t* targets = nullptr;  // may be null where no loss is asked for
  // [batch, tokens]: the first token that each token sees, not falling along a sequence; null: 0.
  // Documents that lie one behind the other, or padding on the left, are hidden by it.
  const int32_t* first_keys = nullptr;
  // In training: the number of the first sequence among all of the run, by which dropout draws.
  int64_t first_sequence = 0;
};

// The values that a parameter starts with.
using ValuesOf = FunctionRef<Result<ParamValues>(const Param& param)>;

class Model {
 public:
  virtual ~Model() = default;

  virtual int64_t vocab() const = 0;
  virtual int64_t context() const = 0;  // most tokens of a sequence
  // Every parameter, in the order of first use; the store's ids once registered.
  virtual ParamList params() const = 0;

  // Once, before anything else. The store outlives the model.
  virtual Status RegisterParams(ParamStore& store, ValuesOf values_of) = 0;

  // The loss summed over the tokens, in row order. Gradients times `loss_scale` go to the store: 1
  // over the number of tokens makes them the mean. Memory is allocated only when a batch needs
  // more than any before it.
  virtual Result<double> ForwardBackward(const TokenBatch& batch, float loss_scale) = 0;
  virtual Result<double> ForwardLoss(const TokenBatch& batch) = 0;
  // fp32 logits [batch, tokens - first, vocab] of the positions from `first` on.
  virtual Status Logits(const TokenBatch& batch, int64_t first, float* logits) = 0;

  // The losses [batch, tokens - first] of the same positions, by fp32 logits of a few rows at a
  // time; 0 where the target is -1. NaN where a logit is none.
  virtual Status TokenLosses(const TokenBatch& batch, int64_t first, float* losses) = 0;

  // Generation of one sequence: Prefill starts it anew, Decode appends one token; either gives the
  // fp32 logits [vocab] of the token that follows. At most context() tokens between two Prefills.
  virtual Status Prefill(std::span<const int32_t> ids, float* logits) = 0;
  virtual Status Decode(int32_t id, float* logits) = 0;

  // What ForwardBackward of such a batch needs, and what is held now (with the cache).
  virtual int64_t PlanActivationBytes(int64_t batch, int64_t tokens) = 0;
  virtual int64_t activation_bytes() const = 0;

  // config.json of its Hugging Face folder, with weights of that type.
  virtual std::string HfConfig(DType dtype) const = 0;
  // Of the names of all tensors but the head: older folders leave it out.
  virtual std::string_view name_prefix() const = 0;
  // Null: it has no adapters.
  virtual const LoraConfig* lora() const { return nullptr; }
};

// Random values by each parameter's own rule: Philox, one stream a name, so that they depend on
// nothing but the seed, the name and the place in the array. FillRandom writes those from place
// `begin` on; the pool outlives the ParamValues.
void FillRandom(TaskPool& pool, uint64_t seed, const Param& param, int64_t begin,
                std::span<float> values);
ParamValues RandomValues(TaskPool& pool, uint64_t seed, const Param& param);

}  // namespace ds::model
