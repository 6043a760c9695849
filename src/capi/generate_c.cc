#include <deepspeed/ds_generate.h>

#include <algorithm>
#include <vector>

#include "capi/guard.h"
#include "capi/model_handle.h"
#include "capi/user_code.h"
#include "infer/generate.h"

using ds::Code;
using ds::InvalidArgument;
using ds::Status;
using ds::capi::CheckReady;
using ds::capi::Guard;

static_assert(static_cast<int>(DS_TOKEN_CONTINUE) == static_cast<int>(DS_HOOK_CONTINUE));
static_assert(static_cast<int>(DS_TOKEN_STOP) == static_cast<int>(DS_HOOK_SKIP));
static_assert(static_cast<int>(DS_TOKEN_ABORT) == static_cast<int>(DS_HOOK_ABORT));

namespace {

struct Request {
  ds::infer::GenerateOptions generate;
  std::vector<int32_t> stop_ids;
  ds_token_fn fn = nullptr;
  void* user_data = nullptr;
};

ds::Result<Request> ReadOptions(const ds_generate_options* options, const ds_model& model,
                                int64_t max_tokens) {
  ds_generate_options known = DS_GENERATE_OPTIONS_INIT;
  if (options != nullptr) DS_TRY(ds::capi::ReadStruct("options", options, known));
  if (known.stop_count < 0 || (known.stop_ids == nullptr && known.stop_count != 0)) {
    return InvalidArgument("options.stop_count is {}, and stop_ids is {}", known.stop_count,
                           known.stop_ids == nullptr ? "NULL" : "not NULL");
  }
  if (max_tokens < 0) return InvalidArgument("max_tokens is {}, expected 0 or more", max_tokens);
  Request request;
  const int64_t context = model.config.context;
  request.generate.tokens = max_tokens;
  request.generate.window =
      model.cache_tokens > 0 ? std::min(model.cache_tokens, context) : context;
  ds::infer::SamplingOptions& sampling = request.generate.sampling;
  sampling.temperature = known.temperature;
  sampling.top_k = known.top_k;
  sampling.min_p = known.min_p;
  if (known.top_p != 0) sampling.top_p = known.top_p;
  if (known.repetition_penalty != 0) sampling.repetition_penalty = known.repetition_penalty;
  sampling.seed = known.seed;
  DS_TRY(sampling.Check());
  if (known.stop_ids != nullptr) {
    request.stop_ids.assign(known.stop_ids, known.stop_ids + known.stop_count);
  } else {
    for (const int64_t id : model.config.eos_tokens) {
      request.stop_ids.push_back(static_cast<int32_t>(id));
    }
  }
  request.fn = known.fn;
  request.user_data = known.user_data;
  return request;
}

// What came of an id: whether the text goes on, and why not when the caller did not say STOP.
struct Verdict {
  bool stops = false;
  Status answered;
};

Verdict Ask(ds_model* model, const Request& request, int32_t id) {
  Verdict verdict;
  verdict.stops = std::count(request.stop_ids.begin(), request.stop_ids.end(), id) > 0;
  if (request.fn == nullptr) return verdict;
  auto action = ds::capi::AskUser(model->in_callback(), "a token function",
                                  [&] { return request.fn(id, request.user_data); });
  verdict.answered = action.status();
  if (action.ok() && *action == DS_TOKEN_STOP) verdict.stops = true;
  return verdict;
}

// Makes the verdicts of the ranks one. Fails when they do not have the same id.
Status Agree(ds_engine* engine, int32_t id, Verdict& verdict) {
  const ds::comm::Communicator& comm = engine->engine->comm();
  const bool fails = !verdict.answered.ok();
  const size_t size = static_cast<size_t>(comm.size());
  // The id of each rank, whether each fails, and how many stop.
  std::vector<double> sums(2 * size + 1, 0.0);
  sums[static_cast<size_t>(comm.rank())] = id;
  sums[size + static_cast<size_t>(comm.rank())] = fails ? 1 : 0;
  sums[2 * size] = verdict.stops ? 1 : 0;
  DS_TRY(engine->store().AllReduce("an id of a generation", sums));
  for (size_t rank = 1; rank < size; ++rank) {
    if (sums[rank] == sums[0]) continue;
    return Error(Code::kRankMismatch,
                 "generation: rank 0 has chosen id {}, rank {} has chosen id {}", sums[0], rank,
                 sums[rank]);
  }
  verdict.stops = sums[2 * size] > 0;
  for (size_t rank = 0; rank < size && verdict.answered.ok(); ++rank) {
    if (sums[size + rank] == 0) continue;
    verdict.answered =
        Error(Code::kCallback, "the token function of rank {} aborted, or failed", rank);
  }
  return {};
}

}  // namespace

extern "C" {

ds_status ds_model_prefill(ds_model* model, const int32_t* ids, int64_t count, float* out_logits,
                           int64_t numel) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(ids);
    DS_REQUIRE(out_logits);
    if (count < 1) return InvalidArgument("count is {}, expected at least one id", count);
    DS_TRY(ds::capi::CheckLogits(1, 1, model->config.vocab, numel));
    return ds::capi::RunReading(model, /*ends_reading=*/false, [&] {
      return model->decoder->Prefill({ids, static_cast<size_t>(count)}, out_logits);
    });
  });
}

ds_status ds_model_decode(ds_model* model, int32_t id, float* out_logits, int64_t numel) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(out_logits);
    DS_TRY(ds::capi::CheckLogits(1, 1, model->config.vocab, numel));
    return ds::capi::RunReading(model, /*ends_reading=*/false,
                                [&] { return model->decoder->Decode(id, out_logits); });
  });
}

ds_status ds_model_generate(ds_model* model, const int32_t* prompt, int64_t count,
                            const ds_generate_options* options, int64_t max_tokens,
                            int32_t* out_ids, int64_t* out_count) {
  return Guard([&]() -> Status {
    DS_TRY(CheckReady(model));
    DS_REQUIRE(prompt);
    DS_REQUIRE(out_ids);
    DS_REQUIRE(out_count);
    if (count < 1) return InvalidArgument("count is {}, expected at least one id", count);
    DS_ASSIGN(const Request request, ReadOptions(options, *model, max_tokens));
    std::vector<int32_t> ids;
    Verdict verdict;
    DS_TRY(ds::capi::RunReading(model, /*ends_reading=*/true, [&]() -> Status {
      Status agreed;
      DS_TRY(ds::infer::Generate(*model->decoder, {prompt, static_cast<size_t>(count)},
                                 request.generate, [&](int32_t id) {
                                   ids.push_back(id);
                                   verdict = Ask(model, request, id);
                                   if (model->is_sharded())
                                     agreed = Agree(model->engine, id, verdict);
                                   return agreed.ok() && verdict.answered.ok() && !verdict.stops;
                                 }));
      return agreed;
    }));
    DS_TRY(verdict.answered);
    std::copy(ids.begin(), ids.end(), out_ids);
    *out_count = std::ssize(ids);
    return {};
  });
}

}  // extern "C"
