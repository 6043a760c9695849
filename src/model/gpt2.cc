// GPT-2 (Radford et al. 2019): learned positions, layer norm, GELU, one product for queries, keys
// and values, Conv1D weights.
#include "model/family.h"

namespace ds::model {
namespace {

// The names that other families have for sizes count in transformers, too, and more.
Status CheckAliases(const Json& json) {
  for (const auto& [alias, name] : {std::pair("hidden_size", "n_embd"),
                                    {"max_position_embeddings", "n_positions"},
                                    {"num_attention_heads", "n_head"},
                                    {"num_hidden_layers", "n_layer"}}) {
    const Json given = json.value(alias, Json());
    if (given.is_null() || given == json[name]) continue;
    return Error(Code::kConfig, "{} is {}, but {}, which is the same size, is {}", alias,
                 DumpJson(given, -1), name, DumpJson(json[name], -1));
  }
  return {};
}

Status Read(const Json& json, DecoderConfig& config) {
  DS_TRY(CheckAliases(json));
  std::string activation = "gelu_new";
  DS_TRY(ReadIfSet(json, "activation_function", activation));
  // These three are the same approximation, with its constants in other places.
  const bool by_tanh =
      activation == "gelu_new" || activation == "gelu_pytorch_tanh" || activation == "gelu_fast";
  if (!by_tanh && activation != "gelu") {
    return Error(Code::kUnsupported,
                 "activation_function is \"{}\", only \"gelu_new\" and \"gelu\" are supported",
                 activation);
  }
  config.gelu = by_tanh ? kernels::Gelu::kTanh : kernels::Gelu::kErf;
  DS_TRY(ReadIfSet(json, "tie_word_embeddings", config.tied));
  config.attention_dropout = config.embedding_dropout = config.residual_dropout = 0.1;
  DS_TRY(ReadIfSet(json, "attn_pdrop", config.attention_dropout));
  DS_TRY(ReadIfSet(json, "embd_pdrop", config.embedding_dropout));
  DS_TRY(ReadIfSet(json, "resid_pdrop", config.residual_dropout));
  DS_TRY(RefuseUnless(json, "scale_attn_weights", true));
  DS_TRY(RefuseUnless(json, "scale_attn_by_inverse_layer_idx", false));
  return RefuseUnless(json, "add_cross_attention", false);
}

void Write(const DecoderConfig& config, Json& json) {
  json["n_ctx"] = config.context;  // read by releases before 4
  json["n_inner"] = config.mlp_width() == 4 * config.width ? Json() : Json(config.mlp_width());
  json["activation_function"] = config.gelu == kernels::Gelu::kErf ? "gelu" : "gelu_new";
  json["attn_pdrop"] = config.attention_dropout;
  json["embd_pdrop"] = config.embedding_dropout;
  json["resid_pdrop"] = config.residual_dropout;
  json["scale_attn_weights"] = true;
  json["scale_attn_by_inverse_layer_idx"] = false;
  json["add_cross_attention"] = false;
}

}  // namespace

const Family& Gpt2Family() {
  static const Family family = {.model_type = "gpt2",
                                .architecture = "GPT2LMHeadModel",
                                .sizes = {.vocab = "vocab_size",
                                          .context = "n_positions",
                                          .layers = "n_layer",
                                          .heads = "n_head",
                                          .width = "n_embd",
                                          .kv_heads = "num_key_value_heads",
                                          .inner = "n_inner",
                                          .norm_eps = "layer_norm_epsilon"},
                                .names = {.prefix = "transformer.",
                                          .embedding = "wte",
                                          .positions = "wpe",
                                          .final_norm = "ln_f",
                                          .head = "lm_head",
                                          .block = "h.",
                                          .attention_norm = "ln_1",
                                          .mlp_norm = "ln_2",
                                          .qkv = {"attn.c_attn"},
                                          .attention_out = "attn.c_proj",
                                          .query_norm = "",
                                          .key_norm = "",
                                          .mlp_in = {"mlp.c_fc"},
                                          .mlp_out = "mlp.c_proj"},
                                .layout = WeightLayout::kInOut,
                                .norm = NormKind::kLayer,
                                .mlp = MlpKind::kGelu,
                                .positions = Positions::kLearned,
                                .qk_norm = false,
                                .padding_row = false,
                                .read = Read,
                                .write = Write};
  return family;
}

}  // namespace ds::model
