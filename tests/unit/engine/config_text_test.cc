// The texts that are made from the table of keys.
#include "engine/config_text.h"

#include <gtest/gtest.h>

#include "base/file.h"

namespace ds {
namespace {

TEST(ConfigText, DefaultsMeanTheSameAsNothing) {
  const std::string text = ConfigDefaults();
  auto config = ParseConfig(text, 1);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->ToJson(), ParseConfig("", 1)->ToJson());
  const Json defaults = Json::parse(text);
  EXPECT_EQ(defaults["zero_optimization"]["offload_optimizer"]["cpuadam_cores_perc"], 0.8);
  EXPECT_EQ(defaults["fp16"]["initial_scale_power"], 16);
}

TEST(ConfigText, SchemaDescribesEveryKey) {
  const Json schema = Json::parse(ConfigSchema());
  for (const ConfigSection& section : ConfigSections()) {
    if (!section.path.empty()) continue;
    for (const ConfigKey& key : section.keys) {
      const Json& property = schema["properties"][std::string(key.name)];
      EXPECT_FALSE(property["description"].get<std::string>().empty()) << key.name;
      EXPECT_TRUE(property["anyOf"].is_array()) << key.name;
    }
  }
  EXPECT_EQ(schema["additionalProperties"], false);
  const Json& zero = schema["properties"]["zero_optimization"]["anyOf"][0]["properties"];
  EXPECT_EQ(zero["stage"]["anyOf"][0], Json({{"type", "integer"}, {"minimum", 0}, {"maximum", 3}}));
  EXPECT_EQ(zero["reduce_scatter"]["anyOf"][0], Json({{"enum", {true}}}));
}

TEST(ConfigText, DocsAreUpToDate) {
  auto text = ReadFile(DS_SOURCE_DIR "/docs/CONFIG.md");
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_TRUE(*text == ConfigDocs()) << "run: dspeed config --docs > docs/CONFIG.md";
}

const ConfigEntry* Find(const std::vector<ConfigEntry>& entries, const std::string& key) {
  for (const ConfigEntry& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

TEST(ConfigText, EntriesTellWhereAValueComesFrom) {
  using From = ConfigEntry::From;
  const Json json = {
      {"train_batch_size", 8},
      {"gradient_clipping", "auto"},
      {"zero_optimization",
       {{"stage", 3}, {"prefetch_bucket_size", 5}, {"sub_group_size", 7}, {"offload_param", {}}}},
      {"fp16", {{"enabled", false}, {"loss_scale", 4}}},
      {"scheduler", {{"type", "WarmupDecayLR"}, {"params", {{"total_num_steps", 9}}}}},
      {"aio", {{"queue_depth", 4}}}};
  const auto entries = ConfigEntries(ReadConfig(json, 2));
  const auto expect = [&](const char* key, const Json& value, From from, const char* path) {
    const ConfigEntry* entry = Find(entries, key);
    ASSERT_NE(entry, nullptr) << key;
    EXPECT_EQ(entry->value, value) << key;
    EXPECT_EQ(entry->from, from) << key;
    EXPECT_EQ(entry->path, path) << key;
  };
  expect("train_batch_size", 8, From::kText, "train_batch_size");
  expect("train_micro_batch_size_per_gpu", 4, From::kDerived, "");
  expect("gradient_clipping", 1.0, From::kDefault, "gradient_clipping");
  expect("zero_optimization.overlap_comm", true, From::kDerived, "");
  expect("zero_optimization.stage3_prefetch_bucket_size", 5, From::kText,
         "zero_optimization.prefetch_bucket_size");
  expect("zero_optimization.reduce_bucket_size", 500000000, From::kDefault, "");
  expect("scheduler.params.warmup_max_lr", 0.001, From::kDefault, "");
  expect("scheduler.params.total_num_steps", 9, From::kText, "scheduler.params.total_num_steps");
  expect("zero_optimization.sub_group_size", 7, From::kNoEffect,
         "zero_optimization.sub_group_size");
  expect("fp16.loss_scale", 4, From::kNoEffect, "fp16.loss_scale");
  expect("aio.queue_depth", 4, From::kNoEffect, "aio.queue_depth");
  // Under an old name, and in the spelling of the first releases.
  const auto old = ConfigEntries(
      ReadConfig({{"bfloat16", {{"enabled", true}}}, {"zero_optimization", true}}, 1));
  EXPECT_EQ(Find(old, "bf16.enabled")->path, "bfloat16.enabled");
  EXPECT_EQ(Find(old, "zero_optimization.stage")->value, 1);
  EXPECT_EQ(Find(old, "zero_optimization.stage")->from, From::kDerived);
  EXPECT_EQ(Find(entries, "fp16.loss_scale")->why, "fp16.enabled is off");
}

}  // namespace
}  // namespace ds
