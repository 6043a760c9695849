#include "model/family.h"

namespace ds::model {
namespace {

// One or several, or null.
Status ReadEnds(const Json& json, std::vector<int64_t>& ends) {
  constexpr char kKey[] = "eos_token_id";
  const Json given = json.value(kKey, Json());
  if (given.is_null()) return {};
  for (const Json& id : given.is_array() ? given : Json::array({given})) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
      return Error(Code::kConfig, "{} is {}, expected an id or several", kKey, DumpJson(given, -1));
    }
    ends.push_back(id.get<int64_t>());
  }
  return {};
}

Json TokenOrNull(int64_t token) { return token < 0 ? Json() : Json(token); }
Json EndsOrNull(const std::vector<int64_t>& ends) {
  return ends.size() > 1 ? Json(ends) : TokenOrNull(ends.empty() ? -1 : ends[0]);
}

// Newer files say "dtype", older ones "torch_dtype".
Status ReadDType(const Json& json, std::optional<DType>& dtype) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    std::string name;
    DS_TRY(ReadIfSet(json, key, name));
    if (name.empty()) continue;
    if (name == "float32") dtype = DType::kF32;
    if (name == "bfloat16") dtype = DType::kBF16;
    if (name == "float16") dtype = DType::kF16;
    if (dtype.has_value()) return {};
    return Error(Code::kUnsupported, "{} is \"{}\", expected float32, bfloat16 or float16", key,
                 name);
  }
  return {};
}

Status ReadSizes(const Json& json, DecoderConfig& config) {
  const SizeNames& names = config.family->sizes;
  DS_TRY(RequireKey(json, names.vocab, config.vocab));
  DS_TRY(RequireKey(json, names.context, config.context));
  DS_TRY(RequireKey(json, names.layers, config.layers));
  DS_TRY(RequireKey(json, names.heads, config.heads));
  DS_TRY(RequireKey(json, names.width, config.width));
  if (config.family->positions == Positions::kRope) {  // GPT-2 has no such keys
    DS_TRY(ReadIfSet(json, names.kv_heads, config.kv_heads));
    DS_TRY(ReadIfSet(json, "head_dim", config.head_dim));
  }
  double eps = config.norm_eps;
  DS_TRY(ReadIfSet(json, names.inner, config.inner));
  DS_TRY(ReadIfSet(json, names.norm_eps, eps));
  if (config.family->mlp == MlpKind::kSwiglu) {  // where the defaults of a GPT-2 would be wrong
    DS_TRY(RequireKey(json, names.inner, config.inner));
    DS_TRY(RequireKey(json, names.norm_eps, eps));
  }
  config.norm_eps = static_cast<float>(eps);
  DS_TRY(ReadIfSet(json, "bos_token_id", config.bos_token));
  if (json.contains("pad_token_id") && !json["pad_token_id"].is_null()) {
    DS_TRY(ReadKey(json, "pad_token_id", config.pad_token.emplace()));
  }
  return ReadEnds(json, config.eos_tokens);
}

}  // namespace

std::span<const Family* const> Families() {
  static const Family* const all[] = {&Gpt2Family(), &LlamaFamily(), &MistralFamily(),
                                      &Qwen2Family(), &Qwen3Family()};
  return all;
}

const Family* FindFamily(std::string_view model_type) {
  for (const Family* each : Families()) {
    if (each->model_type == model_type) return each;
  }
  return nullptr;
}

std::string FamilyNames() {
  std::string names;
  for (const Family* each : Families()) {
    if (!names.empty()) names += each == Families().back() ? " or " : ", ";
    names += each->model_type;
  }
  return names;
}

std::set<std::string> Family::Adapted(const std::set<std::string>& targets) const {
  const auto last = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
  // Queries and values, as in the paper; where there is one product for all, that.
  if (targets.empty()) return {last(names.qkv.front()), last(names.qkv.back())};
  std::set<std::string> adapted = targets;
  if (adapted.erase("all-linear") == 0) return adapted;
  for (const std::string& name : names.qkv) adapted.insert(last(name));
  for (const std::string& name : names.mlp_in) adapted.insert(last(name));
  adapted.insert({last(names.attention_out), last(names.mlp_out)});
  return adapted;
}

Status RefuseUnless(const Json& json, const char* key, const Json& expected) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null() || *it == expected) return {};
  return Error(Code::kUnsupported, "{} is {}, only {} is supported", key, DumpJson(*it, -1),
               DumpJson(expected, -1));
}

Status RefuseAnyOf(const Json& json, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (json.contains(key) && !json[key].empty()) {
      return Error(Code::kUnsupported, "{} is {}, only none is supported", key,
                   DumpJson(json[key], -1));
    }
  }
  return {};
}

Result<HfConfig> ParseHfConfig(std::string_view text, std::string_view what) {
  HfConfig parsed;
  DecoderConfig& config = parsed.config;
  DS_ASSIGN(const Json json, ParseJson(text, what));
  const auto read = [&]() -> Status {
    std::string type;
    DS_TRY(RequireKey(json, "model_type", type));
    config.family = FindFamily(type);
    if (config.family == nullptr) {
      return Error(Code::kUnsupported, "model_type is \"{}\", only {} is supported", type,
                   FamilyNames());
    }
    DS_TRY(ReadSizes(json, config));
    DS_TRY(ReadDType(json, parsed.dtype));
    DS_TRY(config.family->read(json, config));
    DS_TRY(config.Check());
    if (json.contains("is_causal") && json["is_causal"] != true) {  // null is no, too
      return Error(Code::kUnsupported, "is_causal is {}, only true is supported",
                   DumpJson(json["is_causal"], -1));
    }
    // The last four: other weights, another config, other names and other sizes than are read here.
    return RefuseAnyOf(json, {"pruned_heads", "quantization_config", "transformers_weights",
                              "configuration_files", "attribute_map", "per_layer_config"});
  };
  if (Status status = read(); !status.ok()) {
    return Error(status.code(), "{}: {}", what, status.message());
  }
  return parsed;
}

std::string ToHfConfig(const DecoderConfig& config, DType dtype) {
  const char* dtype_name = dtype == DType::kF32    ? "float32"
                           : dtype == DType::kBF16 ? "bfloat16"
                                                   : "float16";
  const SizeNames& names = config.family->sizes;
  Json json = {
      {"architectures", Json::array({config.family->architecture})},
      {"model_type", config.family->model_type},
      {names.vocab, config.vocab},
      {names.context, config.context},
      {names.layers, config.layers},
      {names.heads, config.heads},
      {names.width, config.width},
      // Through text, so that 1e-5f is written 1e-05 and not as the double next to it.
      {names.norm_eps, std::stod(fmt::format("{}", config.norm_eps))},
      {"initializer_range", 0.02},
      {"tie_word_embeddings", config.tied},
      {"use_cache", true},
      {"bos_token_id", TokenOrNull(config.bos_token)},
      {"eos_token_id", EndsOrNull(config.eos_tokens)},
      {"pad_token_id", config.pad_token.has_value() ? Json(*config.pad_token) : Json()},
      {"dtype", dtype_name},
      {"torch_dtype", dtype_name},  // read by releases before 4.56
  };
  config.family->write(config, json);
  return DumpJson(json) + "\n";
}

}  // namespace ds::model
