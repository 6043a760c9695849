// The families of decoders, a file each: what their Hugging Face config.json says, how they name
// their weights, and which layers they are made of.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "model/decoder_config.h"
#include "model/norm.h"
#include "model/param_use.h"
#include "tensor/dtype.h"

namespace ds::model {

enum class Positions { kLearned, kRope };
enum class MlpKind { kGelu, kSwiglu };

// Keys of config.json.
struct SizeNames {
  const char *vocab, *context, *layers, *heads, *width, *kv_heads, *inner, *norm_eps;
};

// Names of tensors. Those of a layer come behind "{block}{index}." ; empty: there is none.
struct TensorNames {
  std::string prefix;  // of all but the head; files without it load as well
  std::string embedding, positions, final_norm, head;
  std::string block;  // "h.": also names the unit
  std::string attention_norm, mlp_norm;
  std::vector<std::string> qkv;  // one for all three, or one each
  std::string attention_out, query_norm, key_norm;
  std::vector<std::string> mlp_in;  // one, or gate and up
  std::string mlp_out;
};

struct Family {
  const char* model_type;
  const char* architecture;
  SizeNames sizes;
  TensorNames names;
  WeightLayout layout;
  NormKind norm;
  MlpKind mlp;
  Positions positions;
  bool qk_norm;
  bool padding_row;  // of the embedding, that of pad_token_id is not trained
  // The rest of config.json, once the sizes are read: what this family alone has, and what it asks
  // for that is not supported, by name.
  Status (*read)(const Json& json, DecoderConfig& config);
  void (*write)(const DecoderConfig& config, Json& json);

  // Which products of a block adapters are for: what LoraConfig::targets means.
  std::set<std::string> Adapted(const std::set<std::string>& targets) const;
};

// A file each.
const Family& LlamaFamily();
const Family& MistralFamily();
const Family& Qwen2Family();
const Family& Qwen3Family();
// All of them; by model_type, null: not one of ours; all names, with commas.
std::span<const Family* const> Families();
const Family* FindFamily(std::string_view model_type);
std::string FamilyNames();

// What the file says, checked. What the file asks for and this model does not do is refused by
// name.
struct HfConfig {
  DecoderConfig config;
  std::optional<DType> dtype;  // absent: the file names none, or one that is not ours
};
Result<HfConfig> ParseHfConfig(std::string_view json, std::string_view what = "config.json");
std::string ToHfConfig(const DecoderConfig& config, DType dtype);

// For the files of the families. Absent and null mean the default; another value is refused.
Status RefuseUnless(const Json& json, const char* key, const Json& expected);
Status RefuseAnyOf(const Json& json, std::initializer_list<const char*> keys);
// A key that may be absent or null.
template <typename T>
Status ReadIfSet(const Json& json, const char* key, T& out) {
  const auto it = json.find(key);
  return it == json.end() || it->is_null() ? Status() : ReadKey(json, key, out);
}

}  // namespace ds::model
