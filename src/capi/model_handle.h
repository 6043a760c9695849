// What stands behind a ds_model: a decoder, and the engine that has its weights or, without one,
// all that it needs itself. And the rules of a call that computes with it.
#pragma once

#include <deepspeed/ds_model.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "capi/handles.h"
#include "device/memory.h"
#include "infer/weight_store.h"
#include "kernels/gemm.h"
#include "model/decoder.h"

struct ds_model : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_model";
  // What a model without an engine stands on.
  struct Alone {
    explicit Alone(int threads) : pool(threads) {}
    ds::TaskPool pool;
    ds::device::MemoryAccount account;
    std::optional<ds::infer::WeightStore> weights;
  };

  ~ds_model();

  // Whether gathering weights is something that ranks do together.
  bool is_sharded() const;
  ds::ParamStore& store() const;
  bool& in_callback() { return engine != nullptr ? engine->in_hook : callback_runs; }

  // What it is: stays when its engine ends.
  ds::model::DecoderConfig config;
  ds::DType dtype = ds::DType::kF32;
  std::vector<std::string> names;  // of its parameters
  int64_t numel = 0;
  int64_t cache_tokens = 0;  // of a generation at most, as the options say
  bool trains = false;
  int64_t sequences = 0;  // that this rank was trained on

  ds_engine* engine = nullptr;  // null: alone, or the engine has ended
  bool callback_runs = false;   // of a model that is alone
  std::unique_ptr<Alone> alone;
  std::unique_ptr<ds::kernels::Gemm> gemm;
  std::unique_ptr<ds::model::Decoder> decoder;  // uses the above; null when the engine has ended
};

namespace ds::capi {

// The engine ends: its models keep what they are, and no more.
void EndModels(ds_engine* engine) noexcept;

// A model that can compute now: not in a callback of the caller's, on an engine that is not lost.
Status CheckReady(ds_model* model);

// Runs what only reads weights. What fails on one rank while its peers wait for it loses the
// engine; what is refused changes nothing. Gathered weights are dropped at its end when
// `ends_reading`: they are no part of a step.
Status RunReading(ds_model* model, bool ends_reading, FunctionRef<Status()> body);
// The same, of what the ranks agree on at its end also where none shards its weights.
Status RunSaving(ds_model* model, FunctionRef<Status()> body);
// Runs what hands over gradients: what fails when some are there loses the engine, too.
Status RunTraining(ds_model* model, FunctionRef<Status()> body);

// A batch of the caller's of a size that the model reads.
Status CheckBatchSize(const ds_model& model, int64_t batch, int64_t tokens);
Result<model::TokenBatch> ReadBatch(const ds_model& model, const ds_token_batch* batch,
                                    bool targets);
// That the caller's array has room for logits [batch, tokens, vocab].
Status CheckLogits(int64_t batch, int64_t tokens, int64_t vocab, int64_t numel);

}  // namespace ds::capi
