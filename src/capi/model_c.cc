#include <deepspeed/ds_model.h>

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "capi/buffer.h"
#include "capi/element_types.h"
#include "capi/guard.h"
#include "capi/model_handle.h"
#include "engine/assembly.h"
#include "infer/adapter_folder.h"
#include "infer/model_folder.h"
#include "model/family.h"

using ds::Code;
using ds::DType;
using ds::InvalidArgument;
using ds::Result;
using ds::Status;
using ds::capi::Guard;
using ds::capi::HandleOwner;
using ds::capi::RefuseInHook;
using ds::model::HfConfig;
using ds::model::LoraConfig;

namespace {

// What a call of the three that make a model has been given, and the decoder it comes to.
struct Asked {
  HfConfig hf;
  ds::model::DecoderOptions options;
};

Status CheckCacheTokens(int64_t tokens) {
  if (tokens >= 0) return {};
  return InvalidArgument("options.cache_tokens is {}, expected 0 (the context) or more", tokens);
}

std::string TextOrNone(const char* text) { return text != nullptr ? text : ""; }

Result<Asked> ReadOptions(const ds_model_options& known, HfConfig hf) {
  DS_TRY(CheckCacheTokens(known.cache_tokens));
  return Asked{
      std::move(hf),
      {.recompute = known.recompute != 0, .cache_tokens = known.cache_tokens, .seed = known.seed}};
}

// New adapters, if they are asked for.
Result<std::optional<LoraConfig>> NewAdapters(const ds_model_options& known) {
  if (known.lora_rank == 0) {
    for (const auto& [given, field] : {std::pair(known.lora_alpha != 0, "lora_alpha"),
                                       {known.lora_targets != nullptr, "lora_targets"},
                                       {known.lora_dropout != 0, "lora_dropout"},
                                       {known.lora_embeddings != 0, "lora_embeddings"}}) {
      if (!given) continue;
      return InvalidArgument("options.lora_rank is 0, where options.{} is given", field);
    }
    return std::optional<LoraConfig>();
  }
  LoraConfig lora{
      .size = {known.lora_rank, known.lora_alpha != 0 ? known.lora_alpha
                                                      : 2.0 * static_cast<double>(known.lora_rank)},
      .dropout = known.lora_dropout};
  if (known.lora_targets != nullptr) lora.targets = ds::model::SplitTargets(known.lora_targets);
  lora.embedding = lora.head = known.lora_embeddings != 0;
  DS_TRY(lora.Check());
  return std::optional(std::move(lora));
}

// Those of a folder, which are as they are but for their dropout.
Result<LoraConfig> AdaptersOf(const ds::infer::ModelPlace& place, const std::string& folder,
                              ds_model_options known) {
  LoraConfig lora = *place.lora();
  if (known.lora_dropout != 0) lora.dropout = std::exchange(known.lora_dropout, 0);
  DS_TRY(lora.Check());
  DS_ASSIGN(const auto others, NewAdapters(known));
  if (!others.has_value()) return lora;
  const auto size = lora.CommonSize();
  return InvalidArgument("options.lora_rank is {}, but {} has adapters, of rank{}", known.lora_rank,
                         folder, size ? fmt::format(" {}", size->rank) : "s of their own");
}

// Rows for ids behind those of the folder.
Status GrowVocab(int64_t vocab, const ds::infer::ModelPlace& place, const std::string& folder,
                 Asked& asked) {
  ds::model::DecoderConfig& config = asked.hf.config;
  if (vocab == 0 || vocab == config.vocab) return {};
  if (vocab < config.vocab) {
    return InvalidArgument("options.vocab is {}, but the model in {} knows {} ids", vocab, folder,
                           config.vocab);
  }
  if (place.adapters.has_value()) {
    return InvalidArgument(
        "options.vocab is {}, but {} has adapters, of {} ids: only new ones learn further ids",
        vocab, folder, config.vocab);
  }
  config.GrowVocab(vocab);
  DS_TRY(config.Check());
  if (auto& lora = asked.options.lora) lora->embedding = lora->head = true;
  return {};
}

// The handle over `engine`, or alone, with a decoder whose parameters are not registered yet.
Result<HandleOwner<ds_model>> MakeModel(const Asked& asked, ds_engine* engine,
                                        std::unique_ptr<ds_model::Alone> alone) {
  if (engine == nullptr) DS_TRY(ds::CheckEnvironment());  // else that looked
  auto model = ds::capi::MakeHandle<ds_model>();
  model->config = asked.hf.config;
  model->cache_tokens = asked.options.cache_tokens;
  model->gemm = ds::CreateGemm();
  model->alone = std::move(alone);
  const ds::device::Lane lane =
      engine != nullptr ? engine->engine->lane() : ds::device::Lane(model->alone->pool);
  ds::device::MemoryAccount& account =
      engine != nullptr ? engine->engine->memory() : model->alone->account;
  DS_ASSIGN(model->decoder, ds::model::Decoder::Create(asked.hf.config, asked.options, lane,
                                                       *model->gemm, account));
  for (const ds::model::Param* param : model->decoder->params()) {
    model->names.push_back(param->spec.name);
    model->numel += param->spec.numel();
  }
  if (engine != nullptr) {
    model->trains = true;
    model->dtype = engine->store().dtype();
    engine->models.push_back(model.get());
    model->engine = engine;
  } else {
    model->dtype = model->alone->weights->dtype();
  }
  return model;
}

// Lets the decoder register with the engine: all of it, or nothing. When half of it is there, the
// engine is lost.
Status Register(ds_model& model, ds::FunctionRef<Status()> body) {
  ds_engine* engine = model.engine;
  ds::zero::ShardedStore& store = engine->store();
  DS_TRY(store.failure());
  for (const std::string& name : model.names) {
    if (store.Find(name).ok()) {
      return InvalidArgument("{}: registered already, before this model", name);
    }
  }
  const int before = store.param_count();
  const size_t after = static_cast<size_t>(before) + model.names.size();
  while (engine->params->size() < after) {  // kept for others should these not be registered
    engine->params->emplace_back(engine, static_cast<ds::ParamId>(engine->params->size()));
  }
  Status status;
  try {
    status = body();
  } catch (...) {
    status = ds::capi::StatusOfException();
  }
  for (ds::ParamId id = before; id < store.param_count(); ++id) {
    (*engine->params)[id].spec = &store.spec(id);
  }
  if (status.ok() || store.param_count() == before) return status;
  if (ds_status_get_scope(static_cast<ds_status>(status.code())) <= DS_SCOPE_CALL) {
    status = Error(Code::kEnginePoisoned, "{}, amid the parameters of a model", status.message());
  }
  store.Fail(status);
  return status;
}

Result<HandleOwner<ds_model>> Create(ds_engine* engine, const char* hf_config,
                                     const ds_model_options& options) {
  DS_ASSIGN(const HfConfig hf, ds::model::ParseHfConfig(hf_config, "hf_config"));
  if (options.lora_rank != 0) {
    return InvalidArgument("options.lora_rank is {}: adapters stand beside weights that are loaded",
                           options.lora_rank);
  }
  if (options.base != nullptr) {
    return InvalidArgument(
        "options.base is {}: only a folder of adapters has a base, see ds_model_load()",
        options.base);
  }
  if (options.vocab != 0) {
    return InvalidArgument("options.vocab is {}, but hf_config says {}: it is of ds_model_load()",
                           options.vocab, hf.config.vocab);
  }
  DS_TRY(NewAdapters(options).status());
  DS_ASSIGN(const Asked asked, ReadOptions(options, hf));
  DS_ASSIGN(auto model, MakeModel(asked, engine, nullptr));
  DS_TRY(Register(*model, [&] {
    return model->decoder->RegisterParams(engine->store(), [&](const ds::model::Param& param) {
      return ds::model::RandomValues(engine->engine->pool(), options.seed, param);
    });
  }));
  return model;
}

Result<HandleOwner<ds_model>> Load(ds_engine* engine, const char* folder,
                                   const ds_model_options& options) {
  DS_ASSIGN(const ds::infer::ModelPlace place,
            ds::infer::FindModel(folder, TextOrNone(options.base)));
  DS_ASSIGN(const HfConfig hf, ds::infer::ReadPlaceConfig(place));
  DS_ASSIGN(Asked asked, ReadOptions(options, hf));
  if (place.adapters.has_value()) {
    DS_ASSIGN(asked.options.lora, AdaptersOf(place, folder, options));
  } else {
    DS_ASSIGN(asked.options.lora, NewAdapters(options));
    if (auto& lora = asked.options.lora) lora->base = ds::AbsolutePath(folder);
  }
  DS_TRY(GrowVocab(options.vocab, place, folder, asked));
  DS_ASSIGN(auto model, MakeModel(asked, engine, nullptr));
  DS_TRY(Register(*model, [&] {
    return ds::infer::LoadModelAt(
        place, *model->decoder, engine->store(), [&](const ds::model::Param& param) {
          return ds::model::RandomValues(engine->engine->pool(), options.seed, param);
        });
  }));
  return model;
}

Result<HandleOwner<ds_model>> Open(const char* folder, const ds_model_open_options& options) {
  DS_TRY(CheckCacheTokens(options.cache_tokens));
  if (options.threads < 0 || options.threads > 4096) {
    return InvalidArgument("options.threads is {}, not in 0..4096", options.threads);
  }
  if (options.dtype != static_cast<ds_dtype>(0) && !ds::capi::Computes(options.dtype)) {
    return InvalidArgument("options.dtype is {}, not f32 ({}), bf16 ({}) or f16 ({})",
                           static_cast<int>(options.dtype), static_cast<int>(DS_DTYPE_F32),
                           static_cast<int>(DS_DTYPE_BF16), static_cast<int>(DS_DTYPE_F16));
  }
  DS_ASSIGN(const ds::infer::ModelPlace place,
            ds::infer::FindModel(folder, TextOrNone(options.base)));
  DS_ASSIGN(const HfConfig hf, ds::infer::ReadPlaceConfig(place));
  const DType dtype = options.dtype != static_cast<ds_dtype>(0) ? static_cast<DType>(options.dtype)
                                                                : hf.dtype.value_or(DType::kF32);
  auto alone =
      std::make_unique<ds_model::Alone>(options.threads != 0 ? options.threads : ds::UsableCores());
  alone->weights.emplace(dtype, alone->pool, alone->account);
  const Asked asked = {hf, {.cache_tokens = options.cache_tokens, .lora = place.lora()}};
  DS_ASSIGN(auto model, MakeModel(asked, nullptr, std::move(alone)));
  DS_TRY(ds::infer::LoadModelAt(place, *model->decoder, *model->alone->weights));
  return model;
}

// What the two that make a model over an engine have in common.
template <typename Make>
ds_status MakeOnEngine(ds_engine* engine, const ds_model_options* options, ds_model** out_model,
                       const Make& make) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(out_model);
    DS_TRY(RefuseInHook(engine));
    ds_model_options known = DS_MODEL_OPTIONS_INIT;
    if (options != nullptr) DS_TRY(ds::capi::ReadStruct("options", options, known));
    DS_ASSIGN(HandleOwner<ds_model> model, make(known));
    *out_model = model.release();
    return {};
  });
}

}  // namespace

extern "C" {

ds_status ds_model_create(ds_engine* engine, const char* hf_config, const ds_model_options* options,
                          ds_model** out_model) {
  return MakeOnEngine(engine, options, out_model,
                      [&](const ds_model_options& known) -> Result<HandleOwner<ds_model>> {
                        DS_REQUIRE(hf_config);
                        return Create(engine, hf_config, known);
                      });
}

ds_status ds_model_load(ds_engine* engine, const char* folder, const ds_model_options* options,
                        ds_model** out_model) {
  return MakeOnEngine(engine, options, out_model,
                      [&](const ds_model_options& known) -> Result<HandleOwner<ds_model>> {
                        DS_REQUIRE_NAME(folder);
                        return Load(engine, folder, known);
                      });
}

ds_status ds_model_open(const char* folder, const ds_model_open_options* options,
                        ds_model** out_model) {
  return Guard([&]() -> Status {
    DS_REQUIRE_NAME(folder);
    DS_REQUIRE(out_model);
    ds_model_open_options known = DS_MODEL_OPEN_OPTIONS_INIT;
    if (options != nullptr) DS_TRY(ds::capi::ReadStruct("options", options, known));
    DS_ASSIGN(HandleOwner<ds_model> model, Open(folder, known));
    *out_model = model.release();
    return {};
  });
}

void ds_model_destroy(ds_model* model) {
  if (model != nullptr && ds::capi::IsAlive(model) && model->in_callback()) {
    ds::Log(ds::LogLevel::kError, "model", "destroyed inside a function that it called: ignored");
    return;
  }
  ds::capi::Destroy(__func__, model);
}

ds_status ds_model_get_info(const ds_model* model, ds_model_info* out_info) {
  return Guard([&]() -> Status {
    DS_REQUIRE(model);
    DS_REQUIRE(out_info);
    DS_TRY(ds::capi::CheckOutput("out_info", out_info));
    const ds::model::DecoderConfig& config = model->config;
    const ds_model_info info = {sizeof(ds_model_info),
                                config.family->model_type,
                                config.vocab,
                                config.context,
                                config.layers,
                                config.width,
                                static_cast<int64_t>(model->names.size()),
                                model->numel,
                                model->decoder != nullptr ? model->decoder->activation_bytes() : 0,
                                static_cast<ds_dtype>(model->dtype)};
    ds::capi::WriteStruct(info, out_info);
    return {};
  });
}

ds_status ds_model_get_config(const ds_model* model, ds_buffer* out_json) {
  return Guard([&]() -> Status {
    DS_REQUIRE(model);
    DS_REQUIRE(out_json);
    return ds::capi::CopyText(ds::model::ToHfConfig(model->config, model->dtype), out_json);
  });
}

ds_status ds_model_get_param_name(const ds_model* model, int64_t index, const char** out_name) {
  return Guard([&]() -> Status {
    DS_REQUIRE(model);
    DS_REQUIRE(out_name);
    if (index < 0 || index >= std::ssize(model->names)) {
      return InvalidArgument("index is {}; the model has {} parameters", index,
                             model->names.size());
    }
    *out_name = model->names[static_cast<size_t>(index)].c_str();
    return {};
  });
}

}  // extern "C"
