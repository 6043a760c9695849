#include "capi/model_handle.h"

#include <algorithm>

ds_model::~ds_model() {
  if (engine != nullptr) std::erase(engine->models, this);
}

bool ds_model::is_sharded() const {
  return engine != nullptr && engine->engine->comm().size() > 1 &&
         engine->store().placement().shards_parameters();
}

ds::ParamStore& ds_model::store() const {
  if (engine != nullptr) return engine->store();
  return *alone->weights;
}

namespace ds::capi {
namespace {

bool IsRefusal(const Status& status) {
  return ds_status_get_scope(static_cast<ds_status>(status.code())) <= DS_SCOPE_CALL;
}

// Runs `body` on the engine. `together`: the peers wait for what a failure leaves out.
Status RunOnEngine(ds_engine* engine, bool together, FunctionRef<Status()> body) {
  zero::ShardedStore& store = engine->store();
  const int64_t gradients = store.gradients();
  Status status;
  try {
    status = body();
  } catch (...) {
    status = StatusOfException();
  }
  if (status.ok()) return {};
  if (store.gradients() != gradients) {
    // The rest will not come, and what is there cannot be taken back.
    if (IsRefusal(status)) {
      status =
          Error(Code::kEnginePoisoned, "{}, amid the gradients of a micro-batch", status.message());
    }
    store.Fail(status);
  } else if (together && !IsRefusal(status)) {
    store.Fail(status);
  }
  return status;
}

Status Read(ds_model* model, bool together, bool ends_reading, FunctionRef<Status()> body) {
  ds_engine* engine = model->engine;
  if (engine == nullptr) return body();
  return RunOnEngine(engine, together, [&]() -> Status {
    DS_TRY(body());
    engine->reads = !ends_reading;
    return ends_reading ? engine->store().EndEvaluation() : Status();
  });
}

}  // namespace

void EndModels(ds_engine* engine) noexcept {
  for (ds_model* model : engine->models) {
    model->decoder.reset();
    model->gemm.reset();
    model->engine = nullptr;
  }
  engine->models.clear();
}

Status CheckReady(ds_model* model) {
  DS_REQUIRE(model);
  if (model->decoder == nullptr) return InvalidState("the engine of this model was destroyed");
  if (model->in_callback()) {
    return InvalidState("called from inside a function that this model, or its engine, has called");
  }
  return model->engine != nullptr ? model->engine->store().failure() : Status();
}

Status RunReading(ds_model* model, bool ends_reading, FunctionRef<Status()> body) {
  return Read(model, model->is_sharded(), ends_reading, body);
}

Status RunSaving(ds_model* model, FunctionRef<Status()> body) {
  const bool alone = model->engine == nullptr || model->engine->engine->comm().size() == 1;
  return Read(model, !alone, /*ends_reading=*/true, body);
}

Status RunTraining(ds_model* model, FunctionRef<Status()> body) {
  ds_engine* engine = model->engine;
  if (engine == nullptr) {
    return Error(Code::kUnsupported, "a model of ds_model_open() has no engine to train it");
  }
  return RunOnEngine(engine, engine->engine->comm().size() > 1, [&]() -> Status {
    if (engine->reads) DS_TRY(engine->store().EndEvaluation());
    engine->reads = false;
    return body();
  });
}

Status CheckBatchSize(const ds_model& model, int64_t batch, int64_t tokens) {
  const int64_t longest = model.decoder->longest();
  if (batch >= 1 && tokens >= 1 && tokens <= longest && batch <= (int64_t{1} << 31) / tokens) {
    return {};
  }
  return InvalidArgument(
      "a batch of {} sequences of {} tokens, expected 1 to {} tokens, and 2^31 in all", batch,
      tokens, longest);
}

Result<model::TokenBatch> ReadBatch(const ds_model& model, const ds_token_batch* batch,
                                    bool targets) {
  ds_token_batch known = DS_TOKEN_BATCH_INIT;
  DS_TRY(ReadStruct("batch", batch, known));
  DS_TRY(CheckBatchSize(model, known.batch, known.tokens));
  if (known.ids == nullptr) return InvalidArgument("batch.ids is NULL");
  if (known.first_sequence < 0 || known.first_sequence > int64_t{1} << 48) {
    return InvalidArgument("batch.first_sequence is {}, expected 0 to 2^48", known.first_sequence);
  }
  if (targets && known.targets == nullptr) return InvalidArgument("batch.targets is NULL");
  return model::TokenBatch{.batch = known.batch,
                           .tokens = known.tokens,
                           .ids = known.ids,
                           .targets = known.targets,
                           .first_keys = known.first_keys,
                           .first_sequence = known.first_sequence - 1};
}

Status CheckLogits(int64_t batch, int64_t tokens, int64_t vocab, int64_t numel) {
  int64_t rows = 0, want = 0;
  if (batch < 0 || tokens < 0 || __builtin_mul_overflow(batch, tokens, &rows) ||
      __builtin_mul_overflow(rows, vocab, &want) || want != numel) {
    return InvalidArgument("numel is {}; logits of {} x {} positions are {} values each", numel,
                           batch, tokens, vocab);
  }
  return {};
}

}  // namespace ds::capi
