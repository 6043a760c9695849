// Qwen2 (Yang et al. 2024): Llama with biases on queries, keys and values, and a sliding window in
// some layers. Qwen3 (Yang et al. 2025): without them, and queries and keys normalised by head.
#include "model/llama.h"

namespace ds::model {
namespace {

constexpr int64_t kKeyHeads = 32;  // the default of these families' configs

// Newer files say what each layer is; older ones from which layer on the window counts.
Status ReadWindow(const Json& json, DecoderConfig& config) {
  bool use = false;
  int64_t from = 28;  // the default of these families' configs
  DS_TRY(ReadIfSet(json, "use_sliding_window", use));
  DS_TRY(ReadIfSet(json, "max_window_layers", from));
  if (!use) return {};
  DS_TRY(ReadWindowSize(json, config));
  DS_TRY(ReadLayerTypes(json, config));
  if (!config.windowed.empty()) return {};
  config.windowed.assign(static_cast<size_t>(config.layers), false);
  for (int64_t i = std::max<int64_t>(from, 0); i < config.layers; ++i) {
    config.windowed[static_cast<size_t>(i)] = true;
  }
  return {};
}

Status ReadQwen2(const Json& json, DecoderConfig& config) {
  DS_TRY(ReadLlamaLike(json, config));
  if (!json.contains("num_key_value_heads")) config.kv_heads = kKeyHeads;
  config.qkv_bias = true;
  return ReadWindow(json, config);
}

Status ReadQwen3(const Json& json, DecoderConfig& config) {
  DS_TRY(ReadLlamaLike(json, config));
  if (!json.contains("num_key_value_heads")) config.kv_heads = kKeyHeads;
  if (config.head_dim == 0) config.head_dim = 128;  // the default of this family's config
  bool bias = false;
  DS_TRY(ReadIfSet(json, "attention_bias", bias));
  config.qkv_bias = config.out_bias = bias;
  return ReadWindow(json, config);
}

void WriteQwen(const DecoderConfig& config, Json& json) {
  WriteLlamaLike(config, json);
  const bool use = config.window > 0;
  json["use_sliding_window"] = use;
  json["sliding_window"] = use ? Json(config.window) : Json();
  int64_t full = 0;  // layers before the first with a window
  while (full < config.layers && config.window_of(full) == 0) ++full;
  json["max_window_layers"] = full;
  json["layer_types"] = LayerTypes(config);
}

void WriteQwen3(const DecoderConfig& config, Json& json) {
  WriteQwen(config, json);
  json["attention_bias"] = config.qkv_bias;
}

}  // namespace

const Family& Qwen2Family() {
  static const Family family = [] {
    Family qwen2 = LlamaLike("qwen2", "Qwen2ForCausalLM");
    qwen2.read = ReadQwen2;
    qwen2.write = WriteQwen;
    return qwen2;
  }();
  return family;
}

const Family& Qwen3Family() {
  static const Family family = [] {
    Family qwen3 = LlamaLike("qwen3", "Qwen3ForCausalLM");
    qwen3.read = ReadQwen3;
    qwen3.write = WriteQwen3;
    qwen3.qk_norm = true;
    return qwen3;
  }();
  return family;
}

}  // namespace ds::model
