// What DeepSpeed accepts and we honour, we accept; what it refuses, we refuse. Where we differ on
// purpose, the reason stands here.
#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "engine/config.h"
#include "support/golden.h"

namespace ds {
namespace {

// Accepted by DeepSpeed; refused here, although not as "not supported".
const std::map<std::string, const char*> kStricter = {
    {"gradient_clipping-3", "a negative norm clips nothing and is a mistake"},
    {"use_data_before_expert_parallel-1", "an unknown key, which DeepSpeed ignores"},
    {"no_such_top_level_key-1", "an unknown key, which DeepSpeed ignores"},
    {"expert_parallel-3", "an unknown key, which DeepSpeed ignores"},
    {"activation_checkpointing-2", "an unknown key, which DeepSpeed ignores"},
    {"flops_profiler-1", "an unknown key, which DeepSpeed ignores"},
    {"pipeline-1", "an unknown key, which DeepSpeed ignores"},
    {"log_level-2", "a level is a word; DeepSpeed fails when it uses the number"},
    {"optimizer-7", "parameters of no optimizer; DeepSpeed waits for one from Python"},
    {"scheduler-2", "no such schedule; DeepSpeed's engine fails later"},
    {"data_types-2", "no such dtype; DeepSpeed's engine fails later"},
    {"bf16+bfloat16-1", "one key under two names, with two values"},
    {"file-hjson", "keys are quoted; comments and the last comma are read"},
    {"base64-hjson", "keys are quoted; base64 is not read"},
    {"base64-duplicate", "a key that stands twice is a mistake however it is sent"},
    {"base64-duplicate-nested", "a key that stands twice is a mistake however it is sent"},
    {"fp16-11", "hysteresis 0 counts below 1 for ever, and the loss scale never sinks"},
};

// Refused by DeepSpeed; accepted here.
constexpr const char* kDropped = "asks for nothing, and 0.19.6 accepts it";
const std::map<std::string, const char*> kLooser = {
    {"amp-1", kDropped},
    {"nebula-1", kDropped},
    {"compression_training-1", kDropped},
    {"quantize_training-1", kDropped},
    {"eigenvalue-1", kDropped},
    {"sparse_attention-1", kDropped},
    {"elasticity-1", kDropped},
    {"curriculum_learning-1", kDropped},
    {"progressive_layer_drop-1", kDropped},
    {"sparse_gradients-1", kDropped},
    {"graph_harvesting-1", kDropped},
    {"zero_optimization-62", "MiCS, which DeepSpeed dropped after 0.19.6, is a placement here"},
    {"expert_parallel-4", "the section is off, so nothing is asked of it"},
};

// DeepSpeed's attribute as the key that it comes from.
const std::map<std::string, const char*> kAttributes = {
    {"gradient_clipping", "/gradient_clipping"},
    {"train_batch_size", "/train_batch_size"},
    {"train_micro_batch_size_per_gpu", "/train_micro_batch_size_per_gpu"},
    {"zero_config.stage", "/zero_optimization/stage"},
    {"zero_config.overlap_comm", "/zero_optimization/overlap_comm"},
    {"zero_config.reduce_bucket_size", "/zero_optimization/reduce_bucket_size"},
    {"zero_config.prefetch_bucket_size", "/zero_optimization/stage3_prefetch_bucket_size"},
    {"zero_config.max_live_parameters", "/zero_optimization/stage3_max_live_parameters"},
    {"bfloat16_config.enabled", "/bf16/enabled"},
    {"scheduler_name", "/scheduler/type"},
};

std::vector<ConfigProblem> Problems(const Json& row, int world, Json* resolved) {
  const std::string text =
      row.contains("text") ? row["text"].get<std::string>() : row["config"].dump();
  auto json = ParseConfigText(text);
  if (!json.ok()) return {{"", json.status().message()}};
  const ConfigReading reading = ReadConfig(*json, world);
  *resolved = reading.config.ToJson();
  return reading.checked.problems;
}

// Counts what became of the rows.
struct Tally {
  int accepted = 0, refused = 0, unsupported = 0, values = 0;
  std::map<std::string, int> differing;
};

void CompareRow(const Json& row, const std::string& id, const Json& theirs, int world,
                Tally& tally) {
  Json resolved;
  const auto problems = Problems(row, world, &resolved);
  const std::string message = problems.empty() ? "accepted" : problems.front().message;
  bool unsupported = !problems.empty();
  for (const ConfigProblem& problem : problems) {
    unsupported = unsupported && problem.message.find("is not supported") != std::string::npos;
  }
  if (theirs.contains("error")) {
    if (kLooser.count(id) != 0 && problems.empty()) {
      ++tally.differing[id];
      return;
    }
    EXPECT_FALSE(problems.empty()) << id;
    ++tally.refused;
    return;
  }
  if (kStricter.count(id) != 0) {
    EXPECT_FALSE(problems.empty()) << id;
    ++tally.differing[id];
  } else if (unsupported) {
    ++tally.unsupported;
  } else {
    ++tally.accepted;
    EXPECT_TRUE(problems.empty()) << id << ": " << message;
    const auto at = kAttributes.find(row["at"]);
    if (at == kAttributes.end() || theirs["value"] == "auto") return;
    ++tally.values;
    const Json::json_pointer pointer(at->second);
    EXPECT_EQ(resolved.value(pointer, Json()), theirs["value"]) << id;
  }
}

TEST(Golden, ConfigCases) {
  const std::string path = test::GoldenPath("config_cases.json");
  auto text = ReadFile(path);
  ASSERT_TRUE(text.ok()) << text.status().message();
  auto table = ParseJson(*text, path);
  ASSERT_TRUE(table.ok()) << table.status().message();
  Tally tally;
  for (const Json& row : (*table)["cases"]) {
    const std::string id = row["id"];
    if (row.value("given_as", "") == "path") continue;  // a text is given, never a path
    for (const int world : {1, 4}) {
      const std::string column = fmt::format("world{}", world);
      if (!row.contains(column)) continue;
      CompareRow(row, id, row[column] == "same" ? row["world1"] : row[column], world, tally);
    }
  }
  for (const auto& [id, reason] : kStricter) EXPECT_EQ(tally.differing.count(id), 1u) << id;
  for (const auto& [id, reason] : kLooser) EXPECT_EQ(tally.differing.count(id), 1u) << id;
  fmt::print(
      "accepted by both {} ({} values compared), refused by both {}, refused as not "
      "supported {}, differ on purpose {}\n",
      tally.accepted, tally.values, tally.refused, tally.unsupported, tally.differing.size());
  EXPECT_GT(tally.accepted, 100);
  EXPECT_GT(tally.refused, 100);
}

// Parameters of the schedules that we have.
TEST(Golden, ScheduleParameters) {
  const std::string path = test::GoldenPath("lr_schedules.json");
  auto text = ReadFile(path);
  ASSERT_TRUE(text.ok()) << text.status().message();
  auto table = ParseJson(*text, path);
  ASSERT_TRUE(table.ok()) << table.status().message();
  int compared = 0;
  for (const Json& row : (*table)["cases"]) {
    const std::string type = row["type"];
    if (type != "WarmupLR" && type != "WarmupDecayLR" && type != "WarmupCosineLR") continue;
    if (row["group_lr"].size() != 1 || row.contains("last_batch_iteration")) continue;
    const Json config = {
        {"optimizer", {{"type", "AdamW"}, {"params", {{"lr", row["group_lr"][0]}}}}},
        {"scheduler", {{"type", type}, {"params", row["params"]}}}};
    // DeepSpeed warms up as "log" when it does not know the word.
    if (row["params"].value("warmup_type", "log") == "cubic") continue;
    const auto problems = ReadConfig(config, 1).checked.problems;
    EXPECT_EQ(problems.empty(), !row.contains("error"))
        << row["id"] << (problems.empty() ? "" : problems.front().message);
    ++compared;
  }
  EXPECT_GT(compared, 20);
}

}  // namespace
}  // namespace ds
