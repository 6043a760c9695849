// ds_config.json: every key is honoured or refused by name, and the batch triangle is DeepSpeed's.
#include "engine/config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "support/golden.h"

namespace ds {
namespace {

std::string Message(std::string_view text, int world = 1) {
  auto config = ParseConfig(text, world);
  if (config.ok()) return "accepted";
  EXPECT_EQ(config.status().code(), Code::kConfig);
  return config.status().message();
}

EngineConfig Must(std::string_view text, int world = 1) {
  auto config = ParseConfig(text, world);
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : EngineConfig();
}

TEST(Config, EmptyIsAllDefaults) {
  for (const char* text : {"", "  \n", "{}", "{ /* nothing */ }"}) {
    const EngineConfig config = Must(text, 4);
    EXPECT_EQ(config.train_batch, 4);
    EXPECT_EQ(config.gradient_clipping, 1.0);
    EXPECT_EQ(config.zero.stage, 0);
    EXPECT_EQ(config.dtype, DType::kF32);
  }
}

TEST(Config, KeysOfThisSliceAreHonoured) {
  const EngineConfig c = Must(R"({
      "train_batch_size": 16, "gradient_accumulation_steps": 2, "gradient_clipping": 0.5,
      "steps_per_print": 10,
      "bf16": {"enabled": true, "check_grad_overflow": false},
      "optimizer": {"type": "Adam", "params": {"lr": 0.01, "betas": [0.8, 0.95], "eps": 1e-6,
                    "weight_decay": 0.2, "bias_correction": false, "adam_w_mode": false}},
      "scheduler": {"type": "WarmupCosineLR", "params": {"total_num_steps": 100,
                    "warmup_num_steps": 7, "warmup_type": "linear", "cos_min_ratio": 0.1,
                    "warmup_min_ratio": 0.2}},
      "zero_optimization": {"stage": 3, "overlap_comm": false, "stage3_prefetch_bucket_size": 5e7,
                    "stage3_max_live_parameters": 1e6, "reduce_bucket_size": 1000,
                    "ignore_unused_parameters": false}})",
                              4);
  EXPECT_EQ(c.micro_batch, 2);
  EXPECT_EQ(c.accumulation, 2);
  EXPECT_EQ(c.gradient_clipping, 0.5);
  EXPECT_EQ(c.steps_per_print, 10);
  EXPECT_EQ(c.dtype, DType::kBF16);
  EXPECT_FALSE(c.check_grad_overflow);
  EXPECT_EQ(c.optimizer, Json::parse(R"({"type": "Adam", "params": {"lr": 0.01,
      "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.2, "bias_correction": false,
      "adam_w_mode": false}})"));
  EXPECT_EQ(c.schedule.type, optim::ScheduleOptions::Type::kWarmupCosineLR);
  EXPECT_EQ(c.schedule.warmup_num_steps, 7);
  EXPECT_EQ(c.schedule.warmup_type, optim::ScheduleOptions::Warmup::kLinear);
  EXPECT_EQ(c.schedule.cos_min_ratio, 0.1);
  EXPECT_EQ(c.schedule.warmup_min_ratio, 0.2);
  EXPECT_EQ(c.zero.stage, 3);
  EXPECT_FALSE(c.zero.overlap_comm);
  EXPECT_EQ(c.zero.prefetch_bucket_size, 50'000'000);
  EXPECT_EQ(c.zero.max_live_parameters, 1'000'000);
  EXPECT_EQ(c.zero.reduce_bucket_size, 1000);
  EXPECT_FALSE(c.zero.ignore_unused_parameters);
  // The resolved text means the same.
  EXPECT_EQ(Must(DumpJson(c.ToJson()), 4).ToJson(), c.ToJson());
}

TEST(Config, StagesDecideTheDefaultOfOverlap) {
  EXPECT_TRUE(Must(R"({"zero_optimization": {"stage": 3}})").zero.overlap_comm);
  EXPECT_FALSE(Must(R"({"zero_optimization": {"stage": 2}})").zero.overlap_comm);
  EXPECT_EQ(Must(R"({"zero_optimization": true})").zero.stage, 1);
}

TEST(Config, ErrorsNameTheKeyAndBothValues) {
  EXPECT_EQ(Message(R"({"zero_optimisation": {}})"),
            "config: zero_optimisation is not a key that this release knows; did you mean "
            "zero_optimization?");
  EXPECT_EQ(Message(R"({"zero_optimization": {"stage": 4}})"),
            "config: zero_optimization.stage is 4, not 0, 1, 2 or 3");
  EXPECT_EQ(Message(R"({"gradient_clipping": -1})"),
            "config: gradient_clipping is -1, not a number in [0, inf)");
  EXPECT_EQ(Message(R"({"train_batch_size": 6, "train_micro_batch_size_per_gpu": 2})", 2),
            "config: train_batch_size 6 is not train_micro_batch_size_per_gpu 2 * "
            "gradient_accumulation_steps 1 * 2 ranks");
  EXPECT_EQ(
      Message(R"({"optimizer": {"type": "OneBitAdam"}})"),
      "config: optimizer.type = \"OneBitAdam\" is not supported: this release has AdamW, Adam, "
      "Adagrad, SGD, Lion, Lamb and Muon");
  EXPECT_EQ(Message(R"({"optimizer": {"type": "Adam", "params": {"betas": [0.9]}}})"),
            "config: optimizer.params.betas is [0.9], not two numbers in [0, 1)");
  EXPECT_EQ(Message(R"({"scheduler": {"type": "WarmupCosineLR", "params": {}}})"),
            "config: scheduler.params.total_num_steps is missing, which WarmupCosineLR needs");
  EXPECT_EQ(
      Message(R"({"scheduler": {"type": "WarmupLR", "params": {"cos_min_ratio": 1}}})"),
      "config: scheduler.params.cos_min_ratio = 1 is not a parameter of WarmupLR; cos_min_ratio is "
      "a key of scheduler.params of type WarmupCosineLR");
  EXPECT_EQ(Message(R"({"zero_optimization": {"stage3_prefetch_bucket_size": 1,
                                              "prefetch_bucket_size": 2}})"),
            "config: zero_optimization.stage3_prefetch_bucket_size and prefetch_bucket_size are "
            "the same key, given as 1 and 2");
  EXPECT_EQ(Message("[1]"), "config: the text is an array, not an object");
  EXPECT_NE(Message("{").find("line 1"), std::string::npos);
  EXPECT_NE(Message(R"({"steps_per_print": 1, "steps_per_print": 2})").find("steps_per_print"),
            std::string::npos);
}

TEST(Config, NullIsWhatDeepSpeedTakesItFor) {
  const EngineConfig c = Must(R"({
      "bf16": null, "bfloat16": {"enabled": true}, "fp16": {"loss_scale_window": 0, "min_loss_scale": 0},
      "optimizer": {"type": "AdamW", "params": {"lr": 0.5, "adam_w_mode": false}},
      "scheduler": {"type": "WarmupDecayLR",
                    "params": {"total_num_steps": 50, "warmup_max_lr": null}}})",
                              1);
  EXPECT_EQ(c.dtype, DType::kBF16);
  EXPECT_EQ(optim::LearningRate(c.schedule, 0.25, 1000), 0);
  EXPECT_FALSE(c.schedule.warmup_max_lr.has_value());
  EXPECT_EQ(c.optimizer["params"]["adam_w_mode"], true);  // that type always does
  const EngineConfig again = Must(DumpJson(c.ToJson()), 1);
  EXPECT_EQ(again.ToJson(), c.ToJson());
  EXPECT_FALSE(again.schedule.warmup_max_lr.has_value());
  EXPECT_EQ(Message(R"({"fp16": {"enabled": true, "min_loss_scale": 0}})"),
            "config: fp16.min_loss_scale = 0 is not above 0, which a scale that moves needs");
  EXPECT_EQ(Message(R"({"fp16": {"enabled": true, "loss_scale_window": 0}})"),
            "config: fp16: loss scale window 0 and hysteresis 2 must be 1 or more");
}

TEST(Config, AutoIsADefaultOrFollows) {
  const EngineConfig c = Must(R"({
      "train_batch_size": 16, "train_micro_batch_size_per_gpu": "auto",
      "gradient_accumulation_steps": "auto", "gradient_clipping": "auto",
      "bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"},
      "zero_optimization": {"stage": 3, "overlap_comm": "auto", "reduce_bucket_size": "auto",
                            "stage3_param_persistence_threshold": "auto"},
      "optimizer": {"type": "AdamW", "params": {"lr": 0.02, "betas": "auto"}},
      "scheduler": {"type": "WarmupDecayLR",
                    "params": {"total_num_steps": 50, "warmup_max_lr": "auto"}}})",
                              4);
  EXPECT_EQ(c.micro_batch, 4);
  EXPECT_EQ(c.accumulation, 1);
  EXPECT_EQ(c.gradient_clipping, 1.0);
  EXPECT_TRUE(c.zero.overlap_comm);
  EXPECT_EQ(c.zero.reduce_bucket_size, 500'000'000);
  EXPECT_EQ(c.optimizer["params"]["betas"][1], 0.999);
  EXPECT_FALSE(c.schedule.warmup_max_lr.has_value());  // the optimizer's
  EXPECT_EQ(Message(R"({"train_micro_batch_size_per_gpu": "auto"})"),
            "config: train_micro_batch_size_per_gpu is \"auto\": train_batch_size or "
            "train_micro_batch_size_per_gpu must be a number, the rest follows");
  EXPECT_EQ(Message(R"({"scheduler": {"type": "WarmupCosineLR",
                                      "params": {"total_num_steps": "auto"}}})"),
            "config: scheduler.params.total_num_steps is \"auto\", which nothing here can resolve: "
            "give a whole number of at least 1");
  EXPECT_NE(Message(R"({"optimizer": {"type": "auto"}})").find("optimizer.type is \"auto\""),
            std::string::npos);
}

TEST(Config, FindsEveryProblemAndSaysWhereAKeyBelongs) {
  const Json json = {{"stage", 3},
                     {"fp16", {{"enabled", true}, {"loss_scale", -1}}},
                     {"zero_optimization", {{"gradient_clipping", 1.0}, {"stage", "x"}}},
                     {"train_batch_size", 0}};
  std::vector<std::string> found;
  for (const ConfigProblem& problem : ReadConfig(json, 1).checked.problems) {
    found.push_back(problem.message);
  }
  EXPECT_EQ(found,
            std::vector<std::string>({
                "fp16.loss_scale is -1, not a number in [0, inf)",
                "stage is not a key that this release knows; stage is a key of zero_optimization",
                "train_batch_size is 0, not a whole number of at least 1",
                "zero_optimization.gradient_clipping is not a key that this release knows; "
                "gradient_clipping is a key of the top level",
                "zero_optimization.stage is \"x\", not 0, 1, 2 or 3",
            }));
  EXPECT_NE(Message(json.dump()).find("(and 4 more)"), std::string::npos);
}

TEST(Config, LaxSectionsReadWhatDeepSpeedReads) {
  const EngineConfig c = Must(R"({"zero_optimization": {"stage": "3", "overlap_comm": "off",
      "ignore_unused_parameters": 0, "reduce_bucket_size": "1e3"}, "bf16": {"enabled": "yes"}})");
  EXPECT_EQ(c.zero.stage, 3);
  EXPECT_FALSE(c.zero.overlap_comm);
  EXPECT_FALSE(c.zero.ignore_unused_parameters);
  EXPECT_EQ(c.zero.reduce_bucket_size, 1000);
  EXPECT_EQ(c.dtype, DType::kBF16);
  EXPECT_NE(Message(R"({"steps_per_print": "3"})"), "accepted");
  EXPECT_NE(Message(R"({"zero_optimization": {"overlap_comm": 2}})"), "accepted");
}

TEST(Config, HugeBatchesDoNotWrap) {
  EXPECT_NE(
      Message(R"({"train_micro_batch_size_per_gpu": 9000000000000000000})", 4).find("64 bits"),
      std::string::npos);
  EXPECT_NE(Message(R"({"train_batch_size": 4, "train_micro_batch_size_per_gpu": 1,
                        "gradient_accumulation_steps": 9223372036854775807})",
                    4),
            "accepted");
}

TEST(Golden, BatchTriangle) {
  const std::string path = test::GoldenPath("batch_triangle.json");
  auto text = ReadFile(path);
  ASSERT_TRUE(text.ok()) << text.status().message();
  auto table = ParseJson(*text, path);
  ASSERT_TRUE(table.ok()) << table.status().message();
  int compared = 0;
  for (const Json& row : (*table)["cases"]) {
    const Json& config = row["config"];
    bool ours = true;
    for (const auto& [key, value] : config.items()) {
      ours = ours && value.is_number_integer() &&
             (key == "train_batch_size" || key == "train_micro_batch_size_per_gpu" ||
              key == "gradient_accumulation_steps");
    }
    // With none of the three an engine whose caller feeds it has nothing to check: ours accepts.
    if (!ours || config.empty()) continue;
    auto parsed = ParseConfig(config.dump(), row["world"]);
    ++compared;
    if (!row.contains("resolved")) {
      EXPECT_FALSE(parsed.ok()) << row;
      continue;
    }
    ASSERT_TRUE(parsed.ok()) << row << parsed.status().message();
    EXPECT_EQ(Json({parsed->train_batch, parsed->micro_batch, parsed->accumulation}),
              row["resolved"])
        << row;
  }
  EXPECT_GT(compared, 100);
}

}  // namespace
}  // namespace ds
