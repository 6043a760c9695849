// The part of ds_model.h that computes.
#include <deepspeed/ds_model.h>

#include <algorithm>
#include <cmath>

#include "capi/guard.h"
#include "capi/model_handle.h"
#include "infer/adapter_folder.h"
#include "infer/model_folder.h"

using ds::Code;
using ds::InvalidArgument;
using ds::Status;
using ds::capi::CheckReady;
using ds::capi::Guard;
using ds::model::TokenBatch;

namespace {

int64_t CountTargets(const TokenBatch& batch) {
  const int64_t rows = batch.batch * batch.tokens;
  return rows - std::count(batch.targets, batch.targets + rows, -1);
}

ds_loss LossOf(double sum, int64_t tokens) {
  return {sizeof(ds_loss), sum, tokens > 0 ? sum / static_cast<double>(tokens) : 0.0, tokens};
}

// A disk that is full on rank 0 is told to all ranks, and loses nothing.
Status Save(ds_model* model, const char* folder, bool merged) {
  ds_engine* engine = model->engine;
  const bool writes = engine == nullptr || engine->engine->comm().rank() == 0;
  const bool whole = merged || model->decoder->lora() == nullptr;
  const auto save = whole ? ds::infer::SaveModel : ds::infer::SaveAdapter;
  Status saved;
  try {
    saved = save(folder, *model->decoder, model->store(), writes,
                 [](ds::FolderChange&) { return Status(); });
  } catch (...) {
    saved = ds::capi::StatusOfException();
    // The peers are amid the same gathers; without gathers they wait below, and lose nothing.
    if (model->is_sharded()) engine->store().Fail(saved);
  }
  if (engine == nullptr || !engine->store().failure().ok()) return saved;
  double code = static_cast<double>(saved.code());
  DS_TRY(engine->store().AllReduce("save of a model", {&code, 1}));
  if (code == 0 || !saved.ok()) return saved;
  return Error(static_cast<Code>(static_cast<int32_t>(code)),
               "{}: rank 0 could not save the model, and has the reason", folder);
}

ds_status SaveReading(ds_model* model, const char* folder, bool merged) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE_NAME(folder);
    Status saved;
    DS_TRY(ds::capi::RunSaving(model, [&] {
      saved = Save(model, folder, merged);
      return model->engine == nullptr ? Status() : model->engine->store().failure();
    }));
    return saved;
  });
}

}  // namespace

extern "C" {

ds_status ds_model_plan(ds_model* model, int64_t batch, int64_t tokens, int64_t* out_bytes) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(out_bytes);
    if (!model->trains) {
      return Error(Code::kUnsupported, "a model of ds_model_open() has no engine to train it");
    }
    DS_TRY(ds::capi::CheckBatchSize(*model, batch, tokens));
    *out_bytes = model->decoder->PlanActivationBytes(batch, tokens);
    return {};
  });
}

ds_status ds_model_loss(ds_model* model, const ds_token_batch* batch, ds_loss* out_loss) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(batch);
    DS_REQUIRE(out_loss);
    DS_TRY(ds::capi::CheckOutput("out_loss", out_loss));
    DS_ASSIGN(const TokenBatch view, ds::capi::ReadBatch(*model, batch, /*targets=*/true));
    const int64_t tokens = CountTargets(view);
    double sum = 0;
    DS_TRY(ds::capi::RunReading(model, /*ends_reading=*/true, [&]() -> Status {
      DS_ASSIGN(sum, model->decoder->ForwardLoss(view));
      return {};
    }));
    ds::capi::WriteStruct(LossOf(sum, tokens), out_loss);
    return {};
  });
}

ds_status ds_model_forward_backward(ds_model* model, const ds_token_batch* batch, double scale,
                                    ds_loss* out_loss) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(batch);
    DS_REQUIRE(out_loss);
    DS_TRY(ds::capi::CheckOutput("out_loss", out_loss));
    DS_ASSIGN(TokenBatch view, ds::capi::ReadBatch(*model, batch, /*targets=*/true));
    const int64_t tokens = CountTargets(view);
    if (view.first_sequence < 0 && model->engine != nullptr) {
      const ds::comm::Communicator& comm = model->engine->engine->comm();
      view.first_sequence = model->sequences * comm.size() + comm.rank() * view.batch;
    }
    if (!std::isfinite(scale)) return InvalidArgument("scale is {}", scale);
    if (scale == 0) scale = 1 / static_cast<double>(std::max<int64_t>(tokens, 1));
    double sum = 0;
    DS_TRY(ds::capi::RunTraining(model, [&]() -> Status {
      const auto scaled = static_cast<float>(model->engine->engine->loss_scale() * scale);
      DS_ASSIGN(sum, model->decoder->ForwardBackward(view, scaled));
      return {};
    }));
    model->sequences += view.batch;
    ds::capi::WriteStruct(LossOf(sum, tokens), out_loss);
    return {};
  });
}

ds_status ds_model_logits(ds_model* model, const ds_token_batch* batch, int64_t first,
                          float* out_logits, int64_t numel) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(batch);
    DS_REQUIRE(out_logits);
    DS_ASSIGN(const TokenBatch view, ds::capi::ReadBatch(*model, batch, /*targets=*/false));
    if (first < 0 || first >= view.tokens) {
      return InvalidArgument("first is {}, the batch has {} tokens", first, view.tokens);
    }
    DS_TRY(ds::capi::CheckLogits(view.batch, view.tokens - first, model->config.vocab, numel));
    return ds::capi::RunReading(model, /*ends_reading=*/true,
                                [&] { return model->decoder->Logits(view, first, out_logits); });
  });
}

ds_status ds_model_save(ds_model* model, const char* folder) {
  return SaveReading(model, folder, /*merged=*/false);
}

ds_status ds_model_save_merged(ds_model* model, const char* folder) {
  return SaveReading(model, folder, /*merged=*/true);
}

}  // extern "C"
