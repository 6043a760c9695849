#include "loaded_model.h"

#include "command.h"
#include "data/byte_tokens.h"
#include "engine/assembly.h"
#include "infer/model_folder.h"
#include "model/gpt2.h"

namespace ds::tool {

Result<DType> ParseDType(std::string_view name) {
  if (name == "fp32" || name == "f32" || name == "float32") return DType::kF32;
  if (name == "bf16" || name == "bfloat16") return DType::kBF16;
  if (name == "fp16" || name == "f16" || name == "float16") return DType::kF16;
  return InvalidArgument("--dtype is {}, expected fp32, bf16 or fp16", name);
}

Result<std::unique_ptr<LoadedModel>> OpenModel(const std::string& folder,
                                               const std::optional<std::string>& dtype,
                                               int threads) {
  if (threads < 0 || threads > 4096) {
    return InvalidArgument("--threads is {}, expected 0 to 4096", threads);
  }
  DS_ASSIGN(const model::HfGptConfig config, infer::ReadModelConfig(folder));
  DType type = config.dtype.value_or(DType::kF32);
  if (dtype.has_value()) {
    DS_ASSIGN(type, ParseDType(*dtype));
  }
  if (config.config.vocab != data::ByteTokens::kVocab) {
    return Error(Code::kUnsupported,
                 "{}: vocab_size is {}; this release reads text with models of bytes, with {}",
                 folder, config.config.vocab, data::ByteTokens::kVocab);
  }
  auto loaded = std::make_unique<LoadedModel>(CpuThreads(threads));
  loaded->gemm = CreateGemm();
  loaded->weights.emplace(type, loaded->pool, loaded->account);
  DS_ASSIGN(loaded->model,
            model::Gpt2::Create(config.config, {}, loaded->pool, *loaded->gemm, loaded->account));
  DS_TRY(infer::LoadModel(folder, *loaded->model, *loaded->weights));
  return loaded;
}

std::vector<int32_t> LoadedModel::Encode(std::string_view text) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

std::string LoadedModel::Decode(int32_t token) const {
  return {static_cast<char>(static_cast<unsigned char>(token))};
}

}  // namespace ds::tool
