#include "model/gpt_config.h"

#include <utility>

#include "base/json.h"

namespace ds::model {
namespace {

Status Unsupported(std::string_view key, const Json& value, std::string_view expected) {
  return Error(Code::kUnsupported, "{} is {}, only {} is supported", key, DumpJson(value, -1),
               expected);
}

// Absent and null mean the default, which is what this model does.
Status RefuseUnless(const Json& json, const char* key, bool expected) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null() || *it == expected) return {};
  return Unsupported(key, *it, expected ? "true" : "false");
}

Status RefuseWhatDiffers(const Json& json, int64_t width) {
  std::string type;
  DS_TRY(RequireKey(json, "model_type", type));
  if (type != "gpt2") return Unsupported("model_type", type, "\"gpt2\"");
  std::string activation = "gelu_new";
  DS_TRY(ReadKey(json, "activation_function", activation));
  if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") {
    return Unsupported("activation_function", activation, "\"gelu_new\"");
  }
  if (json.contains("n_inner") && !json["n_inner"].is_null()) {
    int64_t inner = 0;
    DS_TRY(ReadKey(json, "n_inner", inner));
    if (inner != 4 * width) return Unsupported("n_inner", inner, "4 n_embd");
  }
  for (const auto& [key, expected] :
       {std::pair("tie_word_embeddings", true), std::pair("scale_attn_weights", true),
        std::pair("scale_attn_by_inverse_layer_idx", false),
        std::pair("add_cross_attention", false)}) {
    DS_TRY(RefuseUnless(json, key, expected));
  }
  for (const char* key : {"pruned_heads", "quantization_config"}) {
    if (json.contains(key) && !json[key].empty()) return Unsupported(key, json[key], "none");
  }
  return {};
}

// Newer files say "dtype", older ones "torch_dtype".
Status ReadDType(const Json& json, std::optional<DType>& dtype) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!json.contains(key) || json[key].is_null()) continue;
    std::string name;
    DS_TRY(ReadKey(json, key, name));
    if (name == "float32") dtype = DType::kF32;
    if (name == "bfloat16") dtype = DType::kBF16;
    if (name == "float16") dtype = DType::kF16;
    return {};
  }
  return {};
}

Status ReadToken(const Json& json, const char* key, int64_t& token) {
  if (!json.contains(key) || !json[key].is_number()) return {};  // null, or a list in some models
  return ReadKey(json, key, token);
}

Json TokenOrNull(int64_t token) { return token < 0 ? Json() : Json(token); }

}  // namespace

Status GptConfig::Check() const {
  constexpr int64_t kLargest = int64_t{1} << 24;  // of any one size: products stay below 2^63
  const std::pair<const char*, int64_t> sizes[] = {{"vocab_size", vocab},
                                                   {"n_positions", context},
                                                   {"n_layer", layers},
                                                   {"n_head", heads},
                                                   {"n_embd", width}};
  for (const auto& [name, size] : sizes) {
    if (size < 1 || size > kLargest) {
      return Error(Code::kConfig, "{} is {}, expected 1 to {}", name, size, kLargest);
    }
  }
  if (width > (1 << 17) || layers > (1 << 12)) {
    return Error(Code::kConfig, "n_embd is {} and n_layer {}, at most {} and {}", width, layers,
                 1 << 17, 1 << 12);
  }
  if (width % heads != 0) {
    return Error(Code::kConfig, "n_embd is {}, not a multiple of n_head, {}", width, heads);
  }
  if (!(norm_eps > 0)) return Error(Code::kConfig, "layer_norm_epsilon is {}", norm_eps);
  return {};
}

int64_t GptConfig::parameters() const {
  return (vocab + context + 2) * width + layers * (12 * width + 13) * width;
}

double GptConfig::TrainFlopsPerToken(int64_t tokens) const {
  const int64_t in_products = vocab * width + layers * 12 * width * width;
  const int64_t attention = 12 * layers * width * tokens;
  return 6.0 * static_cast<double>(in_products) + static_cast<double>(attention);
}

Result<HfGptConfig> ParseHfConfig(std::string_view text, std::string_view what) {
  HfGptConfig parsed;
  GptConfig& config = parsed.config;
  DS_ASSIGN(const Json json, ParseJson(text, what));
  const auto read = [&]() -> Status {
    DS_TRY(RequireKey(json, "vocab_size", config.vocab));
    DS_TRY(RequireKey(json, "n_positions", config.context));
    DS_TRY(RequireKey(json, "n_layer", config.layers));
    DS_TRY(RequireKey(json, "n_head", config.heads));
    DS_TRY(RequireKey(json, "n_embd", config.width));
    double eps = config.norm_eps;
    DS_TRY(ReadKey(json, "layer_norm_epsilon", eps));
    config.norm_eps = static_cast<float>(eps);
    DS_TRY(ReadToken(json, "bos_token_id", config.bos_token));
    DS_TRY(ReadToken(json, "eos_token_id", config.eos_token));
    DS_TRY(config.Check());
    DS_TRY(ReadDType(json, parsed.dtype));
    return RefuseWhatDiffers(json, config.width);
  };
  if (Status status = read(); !status.ok()) {
    return Error(status.code(), "{}: {}", what, status.message());
  }
  return parsed;
}

std::string ToHfConfig(const GptConfig& config, DType dtype) {
  const char* dtype_name = dtype == DType::kF32    ? "float32"
                           : dtype == DType::kBF16 ? "bfloat16"
                                                   : "float16";
  const Json json = {
      {"architectures", Json::array({"GPT2LMHeadModel"})},
      {"model_type", "gpt2"},
      {"vocab_size", config.vocab},
      {"n_positions", config.context},
      {"n_ctx", config.context},  // read by releases before 4
      {"n_layer", config.layers},
      {"n_head", config.heads},
      {"n_embd", config.width},
      {"n_inner", nullptr},
      {"activation_function", "gelu_new"},
      // Through text, so that 1e-5f is written 1e-05 and not as the double next to it.
      {"layer_norm_epsilon", std::stod(fmt::format("{}", config.norm_eps))},
      {"initializer_range", 0.02},
      {"attn_pdrop", 0.0},
      {"embd_pdrop", 0.0},
      {"resid_pdrop", 0.0},
      {"scale_attn_weights", true},
      {"scale_attn_by_inverse_layer_idx", false},
      {"add_cross_attention", false},
      {"tie_word_embeddings", true},
      {"use_cache", true},
      {"bos_token_id", TokenOrNull(config.bos_token)},
      {"eos_token_id", TokenOrNull(config.eos_token)},
      {"dtype", dtype_name},        // from release 5 on
      {"torch_dtype", dtype_name},  // before
  };
  return DumpJson(json) + "\n";
}

}  // namespace ds::model
