#include "infer/generation_config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "support/temp_dir.h"

namespace ds::infer {
namespace {

TEST(GenerationConfig, WithoutAFileTheModelSaysWhatEndsAText) {
  const test::TempDir dir;
  auto config = ReadGenerationConfig(dir.path(), {.eos_tokens = {7, 9}});
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->end_ids, (std::vector<int32_t>{7, 9}));
  SamplingOptions options{.temperature = 0.3, .top_k = 4};
  config->Apply(options);
  EXPECT_EQ(options.temperature, 0.3);
  EXPECT_EQ(options.top_k, 4);
}

TEST(GenerationConfig, OlderModelsHaveItInTheirConfig) {
  const test::TempDir dir;
  dir.Write("config.json", R"({"model_type": "gpt2", "repetition_penalty": 1.5, "num_beams": 2})");
  auto config = ReadGenerationConfig(dir.path(), {.eos_tokens = {7}});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->end_ids, std::vector<int32_t>{7});
  EXPECT_EQ(config->repetition_penalty, 1.5);
  EXPECT_EQ(config->not_done, std::vector<std::string>{"num_beams 2"});
  EXPECT_EQ(config->path, dir.path() + "/config.json");
  dir.Write("generation_config.json", "{}");
  EXPECT_FALSE(ReadGenerationConfig(dir.path(), {})->repetition_penalty.has_value());
}

TEST(GenerationConfig, TheFileOutweighsTheModel) {
  const test::TempDir dir;
  dir.Write("generation_config.json",
            R"({"eos_token_id": [3, 4], "do_sample": true, "temperature": 0.6, "top_p": 0.9,
                "top_k": null, "bos_token_id": 1})");
  auto config = ReadGenerationConfig(dir.path(), {.eos_tokens = {7}});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->end_ids, (std::vector<int32_t>{3, 4}));
  SamplingOptions options{.top_k = 5};
  config->Apply(options);
  EXPECT_EQ(options.temperature, 0.6);
  EXPECT_EQ(options.top_p, 0.9);
  EXPECT_EQ(options.top_k, 50);
  dir.Write("generation_config.json", R"({"temperature": 0.5})");
  options.top_k = 5;
  ReadGenerationConfig(dir.path(), {})->Apply(options);
  EXPECT_EQ(options.temperature, 0.5);
  EXPECT_EQ(options.top_k, 5);
  dir.Write("generation_config.json", R"({"do_sample": false, "temperature": 0.6})");
  ReadGenerationConfig(dir.path(), {})->Apply(options);
  EXPECT_EQ(options.temperature, 0);
}

Status Write(const std::string& to, const std::string& from, const model::DecoderConfig& config,
             std::optional<int32_t> end = std::nullopt) {
  FolderChange change;
  DS_TRY(AddGenerationConfig(change, to, from, config, end));
  return change.Commit();
}

TEST(GenerationConfig, WhatIsWrittenIsRead) {
  const test::TempDir from, to;
  const model::DecoderConfig config{.eos_tokens = {5}};
  ASSERT_TRUE(Write(to.path(), from.path(), config).ok());
  EXPECT_EQ(ReadGenerationConfig(to.path(), {})->end_ids, std::vector<int32_t>{5});
  const std::string text = "{\"eos_token_id\": [1, 2], \"top_k\": 3}";
  from.Write("generation_config.json", text);
  ASSERT_TRUE(Write(to.path(), from.path(), config).ok());
  EXPECT_EQ(*ReadFile(to.path() + "/generation_config.json"), text);
  ASSERT_TRUE(Write(to.path(), from.path(), config, 2).ok());
  EXPECT_EQ(*ReadFile(to.path() + "/generation_config.json"), text);
  // One more end, which the file has not; the rest stays.
  ASSERT_TRUE(Write(to.path(), from.path(), config, 9).ok());
  EXPECT_EQ(ReadGenerationConfig(to.path(), {})->end_ids, (std::vector<int32_t>{9, 1, 2}));
  EXPECT_EQ(ReadGenerationConfig(to.path(), {})->top_k, 3);
  const test::TempDir none;
  ASSERT_TRUE(Write(to.path(), none.path(), config, 9).ok());
  EXPECT_EQ(ReadGenerationConfig(to.path(), {})->end_ids, (std::vector<int32_t>{9, 5}));
}

TEST(GenerationConfig, WhatAnOlderModelSaysIsKept) {
  const test::TempDir from, to;
  from.Write("config.json", R"({"model_type": "gpt2", "do_sample": false, "num_beams": 2,
                                "top_k": null, "vocab_size": 9})");
  ASSERT_TRUE(Write(to.path(), from.path(), {}).ok());
  const auto says = [&] { return *ParseJson(*ReadFile(to.file("generation_config.json")), "it"); };
  EXPECT_EQ(says(), Json({{"_from_model_config", true}, {"do_sample", false}, {"num_beams", 2}}));
  ASSERT_TRUE(Write(to.path(), from.path(), {.eos_tokens = {5}}, 7).ok());
  EXPECT_EQ(says()["eos_token_id"], Json({7, 5}));
  EXPECT_EQ(says()["do_sample"], false);
}

TEST(GenerationConfig, NonsenseIsNamed) {
  const test::TempDir dir;
  for (const auto& [text, part] : {std::pair("[1]", "expected an object"),
                                   {R"({"eos_token_id": "x"})", "eos_token_id is \"x\""},
                                   {R"({"eos_token_id": [-1]})", "eos_token_id"},
                                   {R"({"top_k": "many"})", "top_k"},
                                   {"{", "generation_config.json"}}) {
    dir.Write("generation_config.json", text);
    auto config = ReadGenerationConfig(dir.path(), {});
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_NE(config.status().message().find(part), std::string::npos) << config.status().message();
    EXPECT_NE(config.status().message().find("generation_config.json"), std::string::npos);
  }
}

// It is read with the model, and matters to who generates alone.
TEST(GenerationConfig, WhatItCannotMeanIsSaidWhereItCounts) {
  const test::TempDir dir;
  const auto said = [&](const char* text) {
    dir.Write("generation_config.json", text);
    auto config = ReadGenerationConfig(dir.path(), {});
    EXPECT_TRUE(config.ok()) << config.status().message();
    return config->Check().message();
  };
  EXPECT_NE(said(R"({"temperature": -1})").find("generation_config.json: temperature is -1"),
            std::string::npos)
      << said(R"({"temperature": -1})");
  EXPECT_NE(said(R"({"do_sample": true, "top_p": 0.0})"), "");
  // Greedy, they say nothing.
  EXPECT_EQ(said(R"({"do_sample": false, "top_p": 0.0, "top_k": -1, "temperature": 9})"), "");
}

TEST(GenerationConfig, AGreedyFileSaysHowToDrawWhereAFlagDoes) {
  const test::TempDir dir;
  for (const auto& [text, top_k] :
       {std::pair(R"({"do_sample": false, "top_k": 3, "top_p": 0.5})", 3),
        {R"({"do_sample": false, "top_p": 0.5})", 50}}) {
    dir.Write("generation_config.json", text);
    auto config = ReadGenerationConfig(dir.path(), {});
    ASSERT_TRUE(config.ok()) << config.status().message();
    SamplingOptions sampling;
    config->Apply(sampling);
    EXPECT_EQ(sampling.temperature, 0);
    EXPECT_EQ(sampling.top_k, top_k);
    EXPECT_EQ(sampling.top_p, 0.5);
  }
}

TEST(GenerationConfig, NamesWhatIsNotDone) {
  const test::TempDir dir;
  dir.Write("generation_config.json",
            R"({"num_beams": 4, "no_repeat_ngram_size": 0, "bad_words_ids": [[1]],
                "suppress_tokens": [], "guidance_scale": null, "typical_p": 1.0, "top_k": 3})");
  auto config = ReadGenerationConfig(dir.path(), {});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->not_done, (std::vector<std::string>{"bad_words_ids [[1]]", "num_beams 4"}));
}

}  // namespace
}  // namespace ds::infer
