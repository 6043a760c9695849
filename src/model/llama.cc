// Llama (Touvron et al. 2023; Dubey et al. 2024) and Mistral (Jiang et al. 2023): rotary positions,
// root mean square norm, SwiGLU, queries that share keys; Mistral has a sliding window.
#include "model/llama.h"

namespace ds::model {

Status ReadLlamaLike(const Json& json, DecoderConfig& config) {
  DS_TRY(RefuseUnless(json, "hidden_act", "silu"));
  DS_ASSIGN(config.rope, RopeConfig::Parse(json));
  DS_TRY(ReadIfSet(json, "attention_dropout", config.attention_dropout));
  config.tied = false;
  DS_TRY(ReadIfSet(json, "tie_word_embeddings", config.tied));
  config.qkv_bias = config.out_bias = config.mlp_bias = false;
  return {};
}

Status ReadWindowSize(const Json& json, DecoderConfig& config) {
  constexpr char kKey[] = "sliding_window";
  if (!json.contains(kKey)) config.window = 4096;
  if (!json.contains(kKey) || json[kKey].is_null()) return {};
  DS_TRY(ReadKey(json, kKey, config.window));
  if (config.window > 0) return {};
  return Error(Code::kConfig, "{} is {}, expected 1 or more, or null", kKey, config.window);
}

Status ReadLayerTypes(const Json& json, DecoderConfig& config) {
  if (!json.contains("layer_types") || json["layer_types"].is_null()) return {};
  const Json& types = json["layer_types"];
  if (!types.is_array() || static_cast<int64_t>(types.size()) != config.layers) {
    return Error(Code::kConfig, "layer_types is {}, expected an array of {} names",
                 DumpJson(types, -1), config.layers);
  }
  for (size_t i = 0; i < types.size(); ++i) {
    const bool windowed = types[i] == "sliding_attention";
    if (!windowed && types[i] != "full_attention") {
      return Error(Code::kUnsupported,
                   "layer_types[{}] is {}, expected \"full_attention\" or \"sliding_attention\"", i,
                   DumpJson(types[i], -1));
    }
    if (windowed && config.window == 0) {
      return Error(Code::kConfig,
                   "layer_types[{}] is \"sliding_attention\", but sliding_window null", i);
    }
    config.windowed.push_back(windowed);
  }
  return {};
}

Json LayerTypes(const DecoderConfig& config) {
  Json types = Json::array();
  for (int64_t i = 0; i < config.layers; ++i) {
    types.push_back(config.window_of(i) > 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

void WriteLlamaLike(const DecoderConfig& config, Json& json) {
  const SizeNames& names = config.family->sizes;
  json[names.kv_heads] = config.key_heads();
  json["head_dim"] = config.dim();
  json[names.inner] = config.mlp_width();
  json["hidden_act"] = "silu";
  json["attention_dropout"] = config.attention_dropout;
  config.rope.Write(json);
}

Family LlamaLike(const char* model_type, const char* architecture) {
  return {.model_type = model_type,
          .architecture = architecture,
          .sizes = {.vocab = "vocab_size",
                    .context = "max_position_embeddings",
                    .layers = "num_hidden_layers",
                    .heads = "num_attention_heads",
                    .width = "hidden_size",
                    .kv_heads = "num_key_value_heads",
                    .inner = "intermediate_size",
                    .norm_eps = "rms_norm_eps"},
          .names = {.prefix = "model.",
                    .embedding = "embed_tokens",
                    .positions = "",
                    .final_norm = "norm",
                    .head = "lm_head",
                    .block = "layers.",
                    .attention_norm = "input_layernorm",
                    .mlp_norm = "post_attention_layernorm",
                    .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                    .attention_out = "self_attn.o_proj",
                    .query_norm = "self_attn.q_norm",
                    .key_norm = "self_attn.k_norm",
                    .mlp_in = {"mlp.gate_proj", "mlp.up_proj"},
                    .mlp_out = "mlp.down_proj"},
          .layout = WeightLayout::kOutIn,
          .norm = NormKind::kRms,
          .mlp = MlpKind::kSwiglu,
          .positions = Positions::kRope,
          .qk_norm = false,
          .padding_row = true,
          .read = ReadLlamaLike,
          .write = WriteLlamaLike};
}

namespace {

Status ReadLlama(const Json& json, DecoderConfig& config) {
  DS_TRY(ReadLlamaLike(json, config));
  if (config.heads > 0 &&
      config.width % config.heads != 0) {  // as the reference does, even with head_dim given
    return Error(Code::kConfig, "hidden_size is {}, not a multiple of num_attention_heads, {}",
                 config.width, config.heads);
  }
  bool bias = false;
  DS_TRY(ReadIfSet(json, "attention_bias", bias));
  config.qkv_bias = config.out_bias = bias;
  return ReadIfSet(json, "mlp_bias", config.mlp_bias);
}

void WriteLlama(const DecoderConfig& config, Json& json) {
  WriteLlamaLike(config, json);
  json["attention_bias"] = config.qkv_bias;
  json["mlp_bias"] = config.mlp_bias;
  json["pretraining_tp"] = 1;
}

Status ReadMistral(const Json& json, DecoderConfig& config) {
  DS_TRY(ReadLlamaLike(json, config));
  if (!json.contains("num_key_value_heads")) config.kv_heads = 8;  // the reference's defaults
  DS_TRY(ReadWindowSize(json, config));
  return ReadLayerTypes(json, config);  // Ministral, which the reference takes a file with it for
}

void WriteMistral(const DecoderConfig& config, Json& json) {
  WriteLlamaLike(config, json);
  json["sliding_window"] = config.window > 0 ? Json(config.window) : Json();
  if (!config.windowed.empty()) json["layer_types"] = LayerTypes(config);
}

}  // namespace

const Family& LlamaFamily() {
  static const Family family = [] {
    Family llama = LlamaLike("llama", "LlamaForCausalLM");
    llama.read = ReadLlama;
    llama.write = WriteLlama;
    return llama;
  }();
  return family;
}

const Family& MistralFamily() {
  static const Family family = [] {
    Family mistral = LlamaLike("mistral", "MistralForCausalLM");
    mistral.read = ReadMistral;
    mistral.write = WriteMistral;
    return mistral;
  }();
  return family;
}

}  // namespace ds::model
