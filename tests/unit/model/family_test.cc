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
            "c.json: activation_function is \"relu\", only \"gelu_new\" is supported");
  EXPECT_EQ(with("n_inner", 77), "ok");
  EXPECT_EQ(with("n_inner", -1), "c.json: n_inner is -1, expected 1 to 16777216");
  EXPECT_EQ(with("tie_word_embeddings", false), "ok");
  EXPECT_EQ(with("scale_attn_by_inverse_layer_idx", true),
            "c.json: scale_attn_by_inverse_layer_idx is true, only false is supported");
  EXPECT_EQ(with("n_head", 5), "c.json: n_embd is 32, not a multiple of n_head, 5");
  EXPECT_EQ(with("n_layer", "two"), "c.json: n_layer: is a string (\"two\"), expected an integer");
  EXPECT_EQ(with("n_layer", 0), "c.json: n_layer is 0, expected 1 to 16777216");
  Json json = Sample();
  json.erase("n_embd");
  EXPECT_EQ(Message(json), "c.json: n_embd: missing");
  EXPECT_NE(Message(Json::array()), "ok");
}

}  // namespace
}  // namespace ds::model
