// Schedules against sequences produced by the real DeepSpeed (tests/golden/lr_schedules.json).
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "base/json.h"

namespace ds::optim {
namespace {

using Type = ScheduleOptions::Type;

Json Table() {
  const char* folder = std::getenv("DS_GOLDEN_DIR");
  const std::string path = std::string(folder != nullptr ? folder : DS_SOURCE_DIR "/tests/golden") +
                           "/lr_schedules.json";
  auto text = ReadFile(path);
  if (!text.ok()) return {};
  auto json = ParseJson(*text, path);
  return json.ok() ? *json : Json();
}

ScheduleOptions OptionsOf(const std::string& type, const Json& params, double base_lr) {
  ScheduleOptions o;
  o.type = type == "WarmupLR"        ? Type::kWarmupLR
           : type == "WarmupDecayLR" ? Type::kWarmupDecayLR
                                     : Type::kWarmupCosineLR;
  const auto number = [&](const char* key, auto& out) {
    if (params.contains(key) && !params[key].is_null()) out = params[key];
  };
  if (o.type == Type::kWarmupLR) o.warmup_max_lr = base_lr;
  number("warmup_min_lr", o.warmup_min_lr);
  number("warmup_max_lr", o.warmup_max_lr);
  number("warmup_num_steps", o.warmup_num_steps);
  number("total_num_steps", o.total_num_steps);
  number("warmup_min_ratio", o.warmup_min_ratio);
  number("cos_min_ratio", o.cos_min_ratio);
  if (params.value("warmup_type", "log") == "linear") {
    o.warmup_type = ScheduleOptions::Warmup::kLinear;
  }
  return o;
}

TEST(Schedule, GivesDeepSpeedsSequences) {
  const Json table = Table();
  ASSERT_TRUE(table.contains("cases"));
  int compared = 0;
  for (const Json& row : table["cases"]) {
    const std::string type = row["type"];
    const bool ours = type == "WarmupLR" || type == "WarmupDecayLR" || type == "WarmupCosineLR";
    // One parameter group here; a resume begins where the counter says, like any other step.
    if (!ours || !row.contains("lr") || row["group_lr"].size() != 1) continue;
    const double base = row["group_lr"][0];
    const ScheduleOptions options = OptionsOf(type, row["params"], base);
    const int64_t first = row.value("last_batch_iteration", -1) + 1;
    const double tolerance = 1e-12 * base;
    if (first == 0) {
      EXPECT_NEAR(LearningRate(options, base, -1), row["initial_lr"], tolerance) << row["id"];
    }
    for (size_t i = 0; i < row["lr"].size(); ++i) {
      const int64_t iteration = first + static_cast<int64_t>(i);
      ASSERT_NEAR(LearningRate(options, base, iteration), row["lr"][i], tolerance)
          << row["id"] << " iteration " << iteration;
    }
    for (const auto& [calls, lr] : row["later"].items()) {
      ASSERT_NEAR(LearningRate(options, base, first + std::stoll(calls) - 1), lr[0], tolerance)
          << row["id"] << " after " << calls;
    }
    ++compared;
  }
  EXPECT_GT(compared, 40);
}

TEST(Schedule, TheFirstStepUsesTheRateAsBuilt) {
  const ScheduleOptions constant;
  EXPECT_EQ(LearningRateOfStep(constant, 0.5, 0), 0.5);
  const ScheduleOptions cosine{.type = Type::kWarmupCosineLR, .total_num_steps = 10};
  EXPECT_EQ(LearningRateOfStep(cosine, 0.5, 0), 0.0);
}

}  // namespace
}  // namespace ds::optim
