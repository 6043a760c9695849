#include "model/family.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "support/golden.h"

namespace ds::model {
namespace {

Json Sample() {
  return *ParseJson(
      ToHfConfig({.vocab = 300, .context = 64, .layers = 2, .heads = 4, .width = 32}, DType::kBF16),
      "sample");
}

std::string Message(const Json& json) {
  auto parsed = ParseHfConfig(DumpJson(json), "c.json");
  return parsed.ok() ? "ok" : parsed.status().message();
}

TEST(HfConfig, RoundTrip) {
  auto parsed = ParseHfConfig(DumpJson(Sample()));
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->config.vocab, 300);
  EXPECT_EQ(parsed->config.context, 64);
  EXPECT_EQ(parsed->config.layers, 2);
  EXPECT_EQ(parsed->config.heads, 4);
  EXPECT_EQ(parsed->config.width, 32);
  EXPECT_EQ(parsed->config.norm_eps, 1e-5f);
  EXPECT_TRUE(parsed->config.eos_tokens.empty());
  EXPECT_EQ(parsed->dtype, DType::kBF16);
  EXPECT_EQ(Sample()["layer_norm_epsilon"].dump(), "1e-05");
}

TEST(HfConfig, ASizeOfZeroIsNamed) {
  auto text = ReadFile(test::GoldenPath("hf/gpt2/config.json"));
  for (const char* key : {"n_head", "n_embd", "n_layer", "vocab_size", "n_positions"}) {
    Json json = *ParseJson(*text, "it");
    json[key] = 0;
    const auto parsed = ParseHfConfig(json.dump());
    ASSERT_FALSE(parsed.ok()) << key;
    EXPECT_NE(parsed.status().message().find(std::string(key) + " is 0"), std::string::npos)
        << parsed.status().message();
  }
}

TEST(HfConfig, ReadsBothSpellingsOfTheField) {
  for (const char* name : {"config.json", "config_v4.json"}) {
    auto text = ReadFile(test::GoldenPath(std::string("hf/gpt2/") + name));
    ASSERT_TRUE(text.ok()) << text.status().message();
    auto parsed = ParseHfConfig(*text, name);
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(parsed->config.context, 192);
    EXPECT_EQ(parsed->config.eos_tokens, std::vector<int64_t>{2});
    EXPECT_EQ(parsed->dtype, DType::kF32);
  }
}

TEST(HfConfig, RefusesByName) {
  const auto with = [](const char* key, Json value) {
    Json json = Sample();
    json[key] = std::move(value);
    return Message(json);
  };
  EXPECT_EQ(Message(Sample()), "ok");
  EXPECT_EQ(with("model_type", "mixtral"),
            "c.json: model_type is \"mixtral\", only gpt2, llama, mistral, qwen2 or qwen3 is "
            "supported");
  EXPECT_EQ(with("activation_function", "relu"),
            "c.json: activation_function is \"relu\", only \"gelu_new\" and \"gelu\" are "
            "supported");
  EXPECT_EQ(with("activation_function", "gelu"), "ok");
  EXPECT_EQ(with("activation_function", "gelu_fast"), "ok");
  EXPECT_EQ(with("is_causal", false), "c.json: is_causal is false, only true is supported");
  EXPECT_EQ(with("is_causal", nullptr), "c.json: is_causal is null, only true is supported");
  EXPECT_EQ(with("is_causal", true), "ok");
  EXPECT_EQ(with("head_dim", 5), "ok");  // GPT-2 has no such key
  EXPECT_EQ(with("pad_token_id", 300), "ok");
  EXPECT_EQ(with("n_inner", 77), "ok");
  EXPECT_EQ(with("n_inner", -1), "c.json: n_inner is -1, expected 1 to 16777216");
  EXPECT_EQ(with("tie_word_embeddings", false), "ok");
  EXPECT_EQ(with("scale_attn_by_inverse_layer_idx", true),
            "c.json: scale_attn_by_inverse_layer_idx is true, only false is supported");
  EXPECT_EQ(with("n_head", 5), "c.json: n_embd is 32, not a multiple of n_head, 5");
  EXPECT_EQ(with("num_attention_heads", Sample()["n_head"]), "ok");
  EXPECT_EQ(with("num_attention_heads", nullptr), "ok");
  EXPECT_EQ(
      with("num_attention_heads", 1),
      fmt::format("c.json: num_attention_heads is 1, but n_head, which is the same size, is {}",
                  Sample()["n_head"].dump()));
  EXPECT_EQ(with("transformers_weights", "other.safetensors"),
            "c.json: transformers_weights is \"other.safetensors\", only none is supported");
  EXPECT_EQ(with("configuration_files", {"config.4.0.0.json"}),
            "c.json: configuration_files is [\"config.4.0.0.json\"], only none is supported");
  EXPECT_EQ(with("attribute_map", Json::object()), "ok");
  EXPECT_EQ(with("n_layer", "two"), "c.json: n_layer: is a string (\"two\"), expected an integer");
  EXPECT_EQ(with("n_layer", 0), "c.json: n_layer is 0, expected 1 to 16777216");
  Json json = Sample();
  json.erase("n_embd");
  EXPECT_EQ(Message(json), "c.json: n_embd: missing");
  EXPECT_NE(Message(Json::array()), "ok");
}

// What the reference takes where a file leaves a key out.
TEST(HfConfig, DefaultsOfTheFamilies) {
  const auto parse = [](const char* family, const Json& more = Json::object()) {
    Json json = {
        {"model_type", family},          {"vocab_size", 256},       {"hidden_size", 64},
        {"intermediate_size", 48},       {"num_hidden_layers", 30}, {"num_attention_heads", 64},
        {"max_position_embeddings", 64}, {"rms_norm_eps", 1e-6},    {"head_dim", 2}};
    json.update(more);
    auto parsed = ParseHfConfig(json.dump(), "c.json");
    EXPECT_TRUE(parsed.ok()) << parsed.status().message();
    return parsed.ok() ? parsed->config : DecoderConfig();
  };
  for (const auto& [family, heads] :
       {std::pair("llama", 64), {"mistral", 8}, {"qwen2", 32}, {"qwen3", 32}}) {
    EXPECT_EQ(parse(family).key_heads(), heads) << family;
    EXPECT_EQ(parse(family, {{"num_key_value_heads", nullptr}}).key_heads(), 64) << family;
    EXPECT_EQ(parse(family, {{"num_key_value_heads", 16}}).key_heads(), 16) << family;
  }
  EXPECT_EQ(parse("mistral").window, 4096);
  EXPECT_EQ(parse("mistral", {{"sliding_window", nullptr}}).window, 0);
  for (const char* family : {"qwen2", "qwen3"}) {
    EXPECT_EQ(parse(family, {{"sliding_window", 4}}).window, 0);
    const DecoderConfig windowed = parse(family, {{"use_sliding_window", true}});
    EXPECT_EQ(windowed.window_of(27), 0);
    EXPECT_EQ(windowed.window_of(28), 4096);
    EXPECT_EQ(parse(family, {{"use_sliding_window", true}, {"sliding_window", nullptr}}).window, 0);
  }
}

// The reference takes a Mistral with layer_types for a Ministral.
TEST(HfConfig, AWindowInSomeLayersOfMistral) {
  Json json = {
      {"model_type", "mistral"},       {"vocab_size", 256},      {"hidden_size", 64},
      {"intermediate_size", 48},       {"num_hidden_layers", 3}, {"num_attention_heads", 8},
      {"max_position_embeddings", 64}, {"rms_norm_eps", 1e-6},   {"sliding_window", 16}};
  const auto windows = [&] {
    auto parsed = ParseHfConfig(json.dump(), "c.json");
    EXPECT_TRUE(parsed.ok()) << parsed.status().message();
    std::vector<int64_t> of;
    for (int64_t i = 0; parsed.ok() && i < 3; ++i) of.push_back(parsed->config.window_of(i));
    if (parsed.ok()) json = *ParseJson(ToHfConfig(parsed->config, DType::kF32), "it");
    return of;
  };
  EXPECT_EQ(windows(), (std::vector<int64_t>{16, 16, 16}));
  EXPECT_FALSE(json.contains("layer_types"));
  for (const char* first : {"full_attention", "sliding_attention"}) {
    json["layer_types"] = {first, "sliding_attention", "full_attention"};
    const std::vector<int64_t> want{first[0] == 'f' ? 0 : 16, 16, 0};
    EXPECT_EQ(windows(), want);
    EXPECT_EQ(windows(), want);  // what is written says the same
  }
  json["sliding_window"] = nullptr;
  EXPECT_EQ(Message(json),
            "c.json: layer_types[0] is \"sliding_attention\", but sliding_window null");
  json["layer_types"] = {"full_attention"};
  EXPECT_EQ(Message(json),
            "c.json: layer_types is [\"full_attention\"], expected an array of 3 names");
}

Json LlamaSample() {
  return *ParseJson(ToHfConfig({.family = &LlamaFamily(),
                                .vocab = 300,
                                .context = 64,
                                .layers = 2,
                                .heads = 4,
                                .width = 32,
                                .inner = 48},
                               DType::kF32),
                    "sample");
}

TEST(HfConfig, PositionsAreTheSameInAllLayers) {
  Json json = LlamaSample();
  json["rope_parameters"] = {{"full_attention", {{"rope_theta", 500}}}};
  EXPECT_EQ(
      Message(json),
      "c.json: rope_parameters has {\"rope_theta\":500} of its own for full_attention, only one "
      "for all layers is supported");
}

TEST(HfConfig, ThePaddingRow) {
  Json json = LlamaSample();
  EXPECT_TRUE(json["pad_token_id"].is_null());
  for (const auto& [pad, row] : {std::pair(7, 7), {299, 299}, {-1, 299}, {-300, 0}}) {
    json["pad_token_id"] = pad;
    auto parsed = ParseHfConfig(json.dump());
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(parsed->config.padding_row(), row);
    EXPECT_EQ((*ParseJson(ToHfConfig(parsed->config, DType::kF32), "it"))["pad_token_id"], pad);
  }
  for (const int pad : {300, -301}) {
    json["pad_token_id"] = pad;
    EXPECT_EQ(Message(json), fmt::format("c.json: pad_token_id is {}, expected -300 to 299", pad));
  }
  DecoderConfig config{.family = &LlamaFamily(), .vocab = 300, .pad_token = -1};
  config.GrowVocab(200);
  EXPECT_EQ(config.pad_token, -1);
  config.GrowVocab(302);
  EXPECT_EQ(config.vocab, 302);
  EXPECT_EQ(config.padding_row(), 299);
  json["sliding_window"] = 0;
  json["pad_token_id"] = nullptr;
  json["model_type"] = "mistral";
  EXPECT_EQ(Message(json), "c.json: sliding_window is 0, expected 1 or more, or null");
}

}  // namespace
}  // namespace ds::model
