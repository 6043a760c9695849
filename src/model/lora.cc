#include "model/lora.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/json.h"

namespace ds::model {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr char kAllLinear[] = "all-linear";

// What this file may ask for and these adapters do not do.
Status RefuseTheRest(const Json& json) {
  for (const char* key : {"use_dora", "lora_bias", "use_qalora", "use_bdlora"}) {
    if (json.contains(key) && json[key] == true) {
      return Error(Code::kUnsupported, "{} is true, only false is supported", key);
    }
  }
  for (const char* key : {"rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform",
                          "exclude_modules", "target_parameters", "layer_replication",
                          "trainable_token_indices", "megatron_config"}) {
    if (json.contains(key) && !json[key].empty()) {
      return Error(Code::kUnsupported, "{} is {}, only none is supported", key,
                   DumpJson(json[key], -1));
    }
  }
  if (json.contains("bias") && json["bias"] != "none") {
    return Error(Code::kUnsupported, "bias is {}, only \"none\" is supported",
                 DumpJson(json["bias"], -1));
  }
  return {};
}

// A string is a pattern over whole names there, but for one word.
Status ReadTargets(const Json& json, LoraConfig& config) {
  const Json targets = json.value("target_modules", Json());
  if (targets == kAllLinear) {
    config.targets.insert(kAllLinear);
    return {};
  }
  if (!targets.is_array() || targets.empty()) {
    return Error(Code::kUnsupported, "target_modules is {}, expected an array of names",
                 DumpJson(targets, -1));
  }
  for (const Json& name : targets) {
    if (!name.is_string()) {
      return Error(Code::kConfig, "target_modules has {}, expected names", DumpJson(name, -1));
    }
    config.targets.insert(name.get<std::string>());
  }
  return {};
}

}  // namespace

Status LoraConfig::Check() const {
  if (rank < 1 || rank > (1 << 16)) {
    return Error(Code::kConfig, "the rank of the adapters is {}, expected 1 to {}", rank, 1 << 16);
  }
  if (!(alpha > 0 && alpha <= 1e6)) {
    return Error(Code::kConfig, "lora_alpha is {}, expected more than 0, to 1e6", alpha);
  }
  return {};
}

float LoraConfig::scale() const {
  const auto r = static_cast<double>(rank);
  return static_cast<float>(alpha / (rank_stabilised ? std::sqrt(r) : r));
}

bool LoraConfig::Names(std::string_view product) const {
  return std::any_of(targets.begin(), targets.end(), [&](const std::string& target) {
    return product == target ||
           (product.ends_with(target) && product[product.size() - target.size() - 1] == '.');
  });
}

std::set<std::string> SplitTargets(std::string_view names) {
  std::set<std::string> parts;
  for (size_t at = 0; at <= names.size();) {
    const size_t comma = std::min(names.find(',', at), names.size());
    parts.emplace(names.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

Result<LoraConfig> ParseLoraConfig(std::string_view text, std::string_view what) {
  LoraConfig config;
  DS_ASSIGN(const Json json, ParseJson(text, what));
  const auto read = [&]() -> Status {
    std::string type;
    DS_TRY(RequireKey(json, "peft_type", type));
    if (type != "LORA") {
      return Error(Code::kUnsupported, "peft_type is \"{}\", only \"LORA\" is supported", type);
    }
    DS_TRY(RequireKey(json, "r", config.rank));
    DS_TRY(RequireKey(json, "lora_alpha", config.alpha));
    DS_TRY(ReadKey(json, "use_rslora", config.rank_stabilised));
    if (json.contains("base_model_name_or_path") && json["base_model_name_or_path"].is_string()) {
      config.base = json["base_model_name_or_path"].get<std::string>();
    }
    DS_TRY(ReadTargets(json, config));
    DS_TRY(RefuseTheRest(json));
    return config.Check();
  };
  if (Status status = read(); !status.ok()) {
    return Error(status.code(), "{}: {}", what, status.message());
  }
  return config;
}

std::string ToPeftConfig(const LoraConfig& config, WeightLayout layout) {
  const Json json = {{"peft_type", "LORA"},
                     {"task_type", "CAUSAL_LM"},
                     {"base_model_name_or_path", config.base},
                     {"r", config.rank},
                     {"lora_alpha", config.alpha},
                     {"lora_dropout", 0.0},
                     {"use_rslora", config.rank_stabilised},
                     {"target_modules", config.targets},
                     {"bias", "none"},
                     {"fan_in_fan_out", layout == WeightLayout::kInOut},
                     {"inference_mode", true},
                     {"init_lora_weights", true}};
  return DumpJson(json) + "\n";
}

bool IsLora(std::string_view name) {
  return name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight");
}

std::string PeftName(std::string_view name) {
  return IsLora(name) ? fmt::format("{}{}", kPrefix, name) : std::string(name);
}

// In double, like PEFT's merge in fp32 within its rounding. A row of `merged` is one of W: of its
// inputs where outputs are rows, else the other way round.
void MergeAdapter(const kernels::Ops& ops, TaskPool& pool, const Param& weights,
                  std::span<float> merged) {
  const LowRank& adapter = *weights.adapter;
  const int64_t rank = adapter.a->spec.shape[0], in = adapter.a->spec.shape[1];
  const int64_t out = adapter.b->spec.shape[0];
  std::vector<float> a(static_cast<size_t>(rank * in)), b(static_cast<size_t>(out * rank));
  ops.to_float(pool, rank * in, adapter.a->data, a.data());
  ops.to_float(pool, out * rank, adapter.b->data, b.data());
  ops.to_float(pool, std::ssize(merged), weights.data, merged.data());
  const bool out_in = adapter.layout == WeightLayout::kOutIn;
  const int64_t rows = out_in ? out : in, columns = out_in ? in : out;
  pool.Run(rows, [&](int64_t row, int) {
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t o = out_in ? row : column, i = out_in ? column : row;
      double sum = 0;
      for (int64_t r = 0; r < rank; ++r) {
        sum += static_cast<double>(b[static_cast<size_t>(o * rank + r)]) *
               a[static_cast<size_t>(r * in + i)];
      }
      float& value = merged[static_cast<size_t>(row * columns + column)];
      value = static_cast<float>(value + static_cast<double>(adapter.scale) * sum);
    }
  });
}

}  // namespace ds::model
