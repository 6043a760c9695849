#include "model/peft_config.h"

#include <algorithm>

#include "base/json.h"
#include "base/lower.h"
#include "model/family.h"

namespace ds::model {
namespace {

constexpr char kAllLinear[] = "all-linear";

bool IsNone(const Json& json, const char* key) {
  const Json value = json.value(key, Json());
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

Status RefuseUnlessNone(const Json& json, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (IsNone(json, key)) continue;
    return Error(Code::kUnsupported, "{} is {}, only none is supported", key,
                 DumpJson(json[key], -1));
  }
  return {};
}

// By some ways to begin, PEFT changes the weights below whenever it loads such adapters.
Status CheckInit(const Json& json) {
  const Json init = json.value("init_lora_weights", Json());
  if (init.is_null() || init.is_boolean()) return {};
  const std::string name = init.is_string() ? Lower(init.get<std::string>()) : "";
  for (const char* changes : {"pissa", "corda", "olora", "loftq"}) {
    if (!name.starts_with(changes)) continue;
    return Error(Code::kUnsupported,
                 "init_lora_weights is {}, by which PEFT changes the model below: its "
                 "save_pretrained writes others with path_initial_model_for_weight_conversion",
                 DumpJson(init, -1));
  }
  for (const char* known : {"gaussian", "eva", "orthogonal", "mica", "lora_ga"}) {
    if (name == known) return {};
  }
  return Error(Code::kUnsupported,
               "init_lora_weights is {}, which is not known to leave the model below as it is",
               DumpJson(init, -1));
}

// What this file may ask for and these adapters do not do.
Status RefuseTheRest(const Json& json) {
  DS_TRY(RefuseUnlessNone(
      json, {"use_dora", "lora_bias", "use_qalora", "use_bdlora", "target_parameters",
             "layer_replication", "trainable_token_indices", "megatron_config", "arrow_config",
             "alora_invocation_tokens", "kasa_config", "monteclora_config", "velora_config"}));
  for (const char* key : {"use_bdlora", "arrow_config", "kasa_config", "trainable_token_indices"}) {
    const Json value = json.value(key, Json());  // PEFT does it by defaults where it is empty
    if (value.is_structured()) return RefuseUnless(json, key, Json());
  }
  DS_TRY(CheckInit(json));
  if (json.contains("bias") && json["bias"] != "none") {
    return Error(Code::kUnsupported, "bias is {}, only \"none\" is supported",
                 DumpJson(json["bias"], -1));
  }
  return {};
}

// A name, or the end of one. PEFT takes it for a regular expression, in which dots are any letter.
bool IsPlain(std::string_view pattern) {
  return std::all_of(pattern.begin(), pattern.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
  });
}

// A string is a pattern over whole names; without any PEFT chooses by the family.
Status ReadTargets(const Json& json, LoraConfig& lora, bool& patterns) {
  const Json targets = json.value("target_modules", Json());
  if (targets.is_null()) {
    patterns = true;
  } else if (targets.is_string()) {
    patterns = Lower(targets.get<std::string>()) != kAllLinear;
    if (!patterns) lora.targets.insert(kAllLinear);
  } else if (!targets.is_array() || targets.empty()) {
    return Error(Code::kUnsupported, "target_modules is {}, expected an array of names",
                 DumpJson(targets, -1));
  } else {
    lora.universal = true;
    for (const Json& name : targets) {
      if (!name.is_string()) {
        return Error(Code::kConfig, "target_modules has {}, expected names", DumpJson(name, -1));
      }
      const auto& target = name.get_ref<const std::string&>();
      const std::string last = target.substr(target.rfind('.') + 1);
      for (const char* table : {"lm_head", "embed_tokens", "wte", "wpe"}) {
        if (last != table) continue;
        return Error(Code::kUnsupported,
                     "target_modules has \"{}\": adapters of a head or an embedding are not "
                     "supported, only whole ones beside them (modules_to_save)",
                     target);
      }
      if (target == kAllLinear) {
        return Error(Code::kUnsupported,
                     "target_modules has \"{}\" in an array, where PEFT takes it for a name",
                     target);
      }
      lora.targets.insert(target);
    }
  }
  return {};
}

// Whether a name, from its beginning or from behind a dot on, is what such a pattern says.
bool EndsWithPattern(std::string_view product, std::string_view pattern) {
  if (product.size() < pattern.size()) return false;
  const std::string_view end = product.substr(product.size() - pattern.size());
  return std::equal(end.begin(), end.end(), pattern.begin(),
                    [](char c, char want) { return want == '.' || c == want; }) &&
         (end.size() == product.size() || product[product.size() - end.size() - 1] == '.');
}

// Layers, one or several; none: all of them.
Status ReadLayers(const Json& json, std::set<int64_t>& layers) {
  constexpr char kKey[] = "layers_to_transform";
  const Json given = json.value(kKey, Json());
  if (given.is_null()) return {};
  for (const Json& layer : given.is_array() ? given : Json::array({given})) {
    if (!layer.is_number_integer() || layer < 0 || layer > INT32_MAX) {
      return Error(Code::kUnsupported, "{} is {}, expected numbers of layers", kKey,
                   DumpJson(given, -1));
    }
    layers.insert(layer.get<int64_t>());
  }
  return {};
}

// The number of the layer that a product is in, as PEFT finds it: the last number in its name.
int64_t LayerOf(std::string_view product) {
  for (size_t end = product.size(), begin = end; end > 0; end = begin - 1) {
    begin = product.rfind('.', end - 1) + 1;  // 0 behind none
    const std::string_view part = product.substr(begin, end - begin);
    const bool number =
        !part.empty() && part.size() < 10 &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (number) return std::stoll(std::string(part));
    if (begin == 0) break;
  }
  return -1;
}

Status ReadAlphas(const Json& json, std::map<std::string, double>& alphas) {
  if (IsNone(json, "alpha_pattern")) return {};
  const Json& pattern = json["alpha_pattern"];
  if (!pattern.is_object()) {
    return Error(Code::kConfig, "alpha_pattern is {}, expected an object", DumpJson(pattern, -1));
  }
  for (const auto& [name, alpha] : pattern.items()) {
    if (!IsPlain(name)) {
      return Error(Code::kUnsupported,
                   "alpha_pattern has \"{}\", only names and ends of names are supported", name);
    }
    const Status status = ReadKey(pattern, name, alphas[name]);
    if (!status.ok()) return Error(status.code(), "alpha_pattern: {}", status.message());
  }
  return {};
}

// Modules by the ends of their names, as PEFT finds them.
Status ReadWhole(const Json& json, bool& embedding, bool& head) {
  if (IsNone(json, "modules_to_save")) return {};
  const Json& modules = json["modules_to_save"];
  for (const Json& module : modules.is_array() ? modules : Json::array({modules})) {
    const std::string name = module.is_string() ? module.get<std::string>() : "";
    const std::string last = name.substr(name.rfind('.') + 1);
    const bool table = last == "embed_tokens" || last == "wte";
    if (!table && last != "lm_head") {
      return Error(Code::kUnsupported,
                   "modules_to_save has {}, only an embedding (embed_tokens, wte) and lm_head are "
                   "supported",
                   DumpJson(module, -1));
    }
    (table ? embedding : head) = true;
  }
  return {};
}

}  // namespace

Result<PeftConfig> PeftConfig::Parse(std::string_view text, std::string_view what) {
  PeftConfig config;
  config.what_ = what;
  LoraConfig& lora = config.lora_;
  lora.size.alpha = 8;  // as PEFT has it where it is not said
  DS_ASSIGN(const Json json, ParseJson(text, what));
  const auto read = [&]() -> Status {
    std::string type;
    DS_TRY(RequireKey(json, "peft_type", type));
    if (type != "LORA") {
      return Error(Code::kUnsupported, "peft_type is \"{}\", only \"LORA\" is supported", type);
    }
    DS_TRY(ReadIfSet(json, "r", lora.size.rank));
    DS_TRY(ReadIfSet(json, "lora_alpha", lora.size.alpha));
    DS_TRY(ReadIfSet(json, "use_rslora", lora.rank_stabilised));
    DS_TRY(ReadIfSet(json, "lora_dropout", lora.dropout));
    if (json.contains("base_model_name_or_path") && json["base_model_name_or_path"].is_string()) {
      lora.base = json["base_model_name_or_path"].get<std::string>();
    }
    DS_TRY(ReadTargets(json, lora, config.patterns_));
    DS_TRY(ReadAlphas(json, config.alphas_));
    DS_TRY(ReadLayers(json, config.layers_));
    const Json excluded = json.value("exclude_modules", Json());
    for (const Json& name : excluded.is_array() ? excluded : Json::array()) {
      if (name.is_string()) config.excluded_.push_back(name.get<std::string>());
    }
    config.one_rank_ = IsNone(json, "rank_pattern");
    DS_TRY(ReadIfSet(json, "ensure_weight_tying", config.keeps_tied_));
    DS_TRY(ReadWhole(json, config.embedding_, config.head_));
    for (const char* key :
         {"rank_pattern", "alpha_pattern", "layers_to_transform", "exclude_modules"}) {
      config.patterns_ |= !IsNone(json, key);
    }
    DS_TRY(RefuseTheRest(json));
    return lora.Check();
  };
  if (Status status = read(); !status.ok()) {
    return Error(status.code(), "{}: {}", what, status.message());
  }
  return config;
}

Result<double> PeftConfig::AlphaOf(std::string_view product) const {
  const std::string* by = nullptr;
  for (const auto& [name, alpha] : alphas_) {
    if (!EndsWithPattern(product, name)) continue;
    if (by != nullptr &&
        alphas_.at(*by) != alpha) {  // PEFT takes the first, by an order of its own
      return Error(Code::kUnsupported,
                   "{}: alpha_pattern says both \"{}\": {} and \"{}\": {} of {}", what_, *by,
                   alphas_.at(*by), name, alpha, product);
    }
    by = &name;
  }
  return by != nullptr ? alphas_.at(*by) : lora_.size.alpha;
}

std::string PeftConfig::LeavesOut(std::string_view product, int64_t rank) const {
  const auto named = [&](const auto& names) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& name) { return EndsWithName(product, name); });
  };
  if (lora_.universal && !named(lora_.targets)) return "target_modules does not name it";
  if (named(excluded_)) return "exclude_modules names it";
  const bool whole = lora_.targets.contains(std::string(product));  // then layers do not count
  if (!whole && !layers_.empty() && !layers_.contains(LayerOf(product))) {
    return "layers_to_transform does not name its layer";
  }
  if (one_rank_ && rank != lora_.size.rank) {
    return fmt::format("of rank {}, and r is {}", rank, lora_.size.rank);
  }
  return "";
}

Result<LoraConfig> PeftConfig::Resolve(const LoraRanks& ranks) const {
  LoraConfig lora = lora_;
  if (!patterns_) return lora;
  lora.targets.clear();
  for (const auto& [product, rank] : ranks) {
    if (const std::string why = LeavesOut(product, rank); !why.empty()) {
      return Error(Code::kUnsupported,
                   "{}: there are weights of an adapter for {} beside it, but {}", what_, product,
                   why);
    }
    DS_ASSIGN(const double alpha, AlphaOf(product));
    lora.chosen[product] = {rank, alpha};
  }
  if (lora.chosen.empty()) {
    return Error(Code::kCorruptData, "{}: there are no weights of adapters beside it", what_);
  }
  if (Status status = lora.Check(); !status.ok()) {
    return Error(status.code(), "{}: {}", what_, status.message());
  }
  return lora;
}

std::string ToPeftConfig(const LoraConfig& config, WeightLayout layout,
                         const std::vector<std::string>& whole) {
  Json json = {{"peft_type", "LORA"},
               {"task_type", "CAUSAL_LM"},
               {"base_model_name_or_path", config.base},
               {"r", config.size.rank},
               {"lora_alpha", config.size.alpha},
               {"lora_dropout", config.dropout},
               {"use_rslora", config.rank_stabilised},
               {"target_modules", config.targets},
               {"bias", "none"},
               {"fan_in_fan_out", layout == WeightLayout::kInOut},
               {"inference_mode", true},
               {"init_lora_weights", true}};
  if (!whole.empty()) json["modules_to_save"] = whole;
  for (const auto& [product, size] : config.chosen) {
    json["target_modules"].push_back(product);
    if (size.rank != config.size.rank) json["rank_pattern"][product] = size.rank;
    if (size.alpha != config.size.alpha) json["alpha_pattern"][product] = size.alpha;
  }
  return DumpJson(json) + "\n";
}

}  // namespace ds::model
