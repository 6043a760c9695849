// Schedules against sequences produced by the real DeepSpeed (tests/golden/lr_schedules.json).
#include "optim/schedule.h"

#include <algorithm>

#include "optim/schedule_params.h"
#include "rig.h"

namespace ds::optim {
namespace {

using Type = ScheduleOptions::Type;

// The row of one of several parameter groups.
Json ParamsOfGroup(const Json& params, size_t group) {
  Json own = params;
  for (auto& item : own.items()) {
    if (item.value().is_array()) item.value() = Json(item.value()[group]);
  }
  return own;
}

struct Entry {
  double lr;
  Json betas;  // null where the row has none
};

// An entry of a row: a number, or one a group; `betas` stand beside it.
Entry EntryOf(const Json& lr, const Json& betas, size_t groups, size_t group) {
  if (groups == 1) return {lr, betas};
  return {lr[group], betas.is_null() ? betas : betas[group]};
}

void Compare(const ScheduleOptions& options, double base, int64_t iteration, const Entry& want) {
  const double tolerance = 1e-12 * std::max(base, want.lr);
  ASSERT_NEAR(LearningRate(options, base, iteration), want.lr, tolerance) << iteration;
  if (want.betas.is_null()) return;
  const auto momentum = Momentum(options, iteration);
  ASSERT_TRUE(momentum.has_value());
  ASSERT_NEAR(*momentum, want.betas[0].get<double>(), 1e-12) << iteration;
  ASSERT_EQ(want.betas[1], kCycledBeta2);
}

TEST(GoldenSchedule, GivesDeepSpeedsSequences) {
  int compared = 0;
  for (const Json& row : GoldenCases("lr_schedules.json")) {
    if (!row.contains("lr")) continue;
    SCOPED_TRACE(row["id"].get<std::string>());
    const size_t groups = row["group_lr"].size();
    for (size_t group = 0; group < groups; ++group) {
      const double base = row["group_lr"][group];
      Json params = ParamsOfGroup(row["params"], group);
      // DeepSpeed takes an unknown kind of warm-up for "log" and warns; here it is refused.
      if (params.contains("warmup_type") && params["warmup_type"] != "linear") {
        params["warmup_type"] = "log";
      }
      auto options = ReadSchedule({{"type", row["type"]}, {"params", params}});
      ASSERT_TRUE(options.ok()) << options.status().message();
      // A resume begins where the counter says, like any other step.
      const int64_t first = row.value("last_batch_iteration", -1) + 1;
      const Json none;
      const Json& betas = row.contains("betas") ? row["betas"] : none;
      if (first == 0) {
        const Json& start = row.contains("initial_betas") ? row["initial_betas"] : none;
        Compare(*options, base, -1, EntryOf(row["initial_lr"], start, groups, group));
      }
      for (size_t i = 0; i < row["lr"].size(); ++i) {
        const Json& at = betas.is_null() ? none : betas[i];
        Compare(*options, base, first + static_cast<int64_t>(i),
                EntryOf(row["lr"][i], at, groups, group));
        if (HasFatalFailure()) return;
      }
      for (const auto& later : row["later"].items()) {
        const Json& lr = later.value()[0];
        const Json& at = later.value().size() > 1 && !betas.is_null() ? later.value()[1] : none;
        Compare(*options, base, first + std::stoll(later.key()) - 1,
                EntryOf(lr, at, groups, group));
        if (HasFatalFailure()) return;
      }
    }
    ++compared;
  }
  EXPECT_GT(compared, 60);
}

TEST(GoldenSchedule, RefusesWhatDeepSpeedRefuses) {
  int refused = 0;
  for (const Json& row : GoldenCases("lr_schedules.json")) {
    if (!row.contains("error")) continue;
    const auto options = ReadSchedule({{"type", row["type"]}, {"params", row["params"]}});
    EXPECT_EQ(options.status().code(), Code::kConfig) << row["id"];
    ++refused;
  }
  EXPECT_GT(refused, 20);
}

TEST(Schedule, NamesTheNearestKey) {
  const auto message = [](const Json& section) { return ReadSchedule(section).status().message(); };
  EXPECT_NE(message({{"type", "OneCycel"}}).find("did you mean OneCycle?"), std::string::npos);
  EXPECT_NE(message({{"type", "WarmupLR"}, {"params", {{"warmup_num_step", 3}}}})
                .find("mean warmup_num_steps?"),
            std::string::npos);
}

TEST(Schedule, OnlyOneCycleMovesTheMomentum) {
  EXPECT_FALSE(Momentum({.type = Type::kWarmupLR}, 3).has_value());
  EXPECT_FALSE(Momentum({.type = Type::kOneCycle, .cycle_momentum = false}, 3).has_value());
  EXPECT_EQ(MomentumOfStep({.type = Type::kOneCycle}, 0), 0.8);
}

TEST(Schedule, TheFirstStepUsesTheRateAsBuilt) {
  const ScheduleOptions constant;
  EXPECT_EQ(LearningRateOfStep(constant, 0.5, 0), 0.5);
  const ScheduleOptions cosine{.type = Type::kWarmupCosineLR, .total_num_steps = 10};
  EXPECT_EQ(LearningRateOfStep(cosine, 0.5, 0), 0.0);
}

}  // namespace
}  // namespace ds::optim
