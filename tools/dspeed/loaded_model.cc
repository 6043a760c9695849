#include "loaded_model.h"

#include "command.h"
#include "engine/assembly.h"
#include "infer/adapter_folder.h"
#include "infer/model_folder.h"
#include "lora_flags.h"
#include "model/decoder.h"
#include "model/family.h"
#include "text.h"

namespace ds::tool {

void AddModelFlags(CLI::App& app, std::string& model, std::string& base) {
  app.add_option("--model", model,
                 "A folder that dspeed train --save wrote, of Hugging Face, or of adapters")
      ->required();
  AddBaseFlag(app, base);
}

Result<DType> ParseDType(std::string_view name) {
  if (name == "fp32" || name == "f32" || name == "float32") return DType::kF32;
  if (name == "bf16" || name == "bfloat16") return DType::kBF16;
  if (name == "fp16" || name == "f16" || name == "float16") return DType::kF16;
  return InvalidArgument("--dtype is {}, expected fp32, bf16 or fp16", name);
}

Result<std::unique_ptr<LoadedModel>> OpenModel(const ModelAsked& asked) {
  if (asked.threads < 0 || asked.threads > 4096) {
    return InvalidArgument("--threads is {}, expected 0 to 4096", asked.threads);
  }
  DS_ASSIGN(const infer::ModelPlace place, infer::FindModel(asked.folder, asked.base));
  DS_ASSIGN(const model::HfConfig config, infer::ReadPlaceConfig(place));
  DType type = config.dtype.value_or(DType::kF32);
  if (asked.dtype.has_value()) {
    DS_ASSIGN(type, ParseDType(*asked.dtype));
  }
  auto loaded = std::make_unique<LoadedModel>(CpuThreads(asked.threads));
  auto tokenizer =
      OpenModelTokenizer(asked.tokenizer, {asked.folder, place.base}, config.config.vocab);
  if (tokenizer.ok()) {
    loaded->tokenizer = std::move(tokenizer).Take();
  } else {
    const Code why = tokenizer.status().code();
    const bool none = why == Code::kNotFound || why == Code::kUnsupported;
    if (asked.reads_text || !none || !asked.tokenizer.empty()) return tokenizer.status();
    loaded->no_tokenizer = tokenizer.status();
  }
  loaded->config = config.config;
  loaded->generation_folder = place.generation;
  loaded->gemm = CreateGemm();
  loaded->weights.emplace(type, loaded->pool, loaded->account);
  const model::DecoderOptions options{
      .cache_tokens = std::min(asked.cache_tokens, config.config.context), .lora = place.lora()};
  DS_ASSIGN(loaded->model, model::Decoder::Create(config.config, options, loaded->pool,
                                                  *loaded->gemm, loaded->account));
  if (asked.reads_weights) {
    DS_TRY(infer::LoadModelAt(place, *loaded->model, *loaded->weights));
  }
  return loaded;
}

Result<std::vector<int32_t>> LoadedModel::Encode(std::string_view text) const {
  DS_ASSIGN(std::vector<int32_t> tokens, tokenizer->Encode(text));
  tokens.insert(tokens.begin(), tokenizer->before().begin(), tokenizer->before().end());
  return tokens;
}

std::string LoadedModel::Decode(int32_t token) const {
  std::string text;
  if (tokenizer->IsSpecial(token) || !tokenizer->DecodeOne(token, text).ok()) text.clear();
  return text;
}

}  // namespace ds::tool
