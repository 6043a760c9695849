// The loss scale against sequences of DeepSpeed (tests/golden/loss_scale.json), and its resume.
#include "optim/loss_scale.h"

#include <map>

#include "rig.h"

namespace ds::optim {
namespace {

// The settings of a row; those of stage 0 are an overflow at a time and never fail.
LossScaleOptions OptionsOf(const Json& row) {
  LossScaleOptions o;
  const std::string kind = row["kind"];
  if (kind == "static") {
    o.dynamic = false;
    o.init_scale = row["dtype"] == "fp16" ? row["static_loss_scale"].get<double>() : 1.0;
    return o;
  }
  if (kind != "dynamic") {
    o.hysteresis = 1;
    o.fails_at_min = false;
    o.init_scale = kind == "stage0_fused" ? 4294967296.0 : 65536.0;
    if (kind == "stage0_unfused") o.min_scale = 0.25;
  } else {
    o.fails_at_min = row["raise_error_at_min_scale"];
  }
  if (row["settings"].is_null()) return o;
  const Json& s = row["settings"];
  o.init_scale = s["init_scale"];
  o.window = s["scale_window"];
  o.min_scale = s["min_scale"];
  o.hysteresis = s.value("delayed_shift", o.hysteresis);
  o.consecutive_hysteresis = s.value("consecutive_hysteresis", false);
  return o;
}

TEST(GoldenLossScale, MovesAsDeepSpeedsDoes) {
  std::map<std::string, int> compared;
  for (const Json& row : GoldenCases("loss_scale.json")) {
    SCOPED_TRACE(row["id"].get<std::string>());
    auto scaler = LossScaler::Create(OptionsOf(row));
    ASSERT_TRUE(scaler.ok()) << scaler.status().message();
    const std::string overflow = row["overflow"];
    for (size_t i = 0; i < overflow.size(); ++i) {
      const bool fails = row.contains("error_at") && row["error_at"] == i;
      const double before = scaler->scale();
      const Status status = scaler->Update(overflow[i] == '1');
      ASSERT_EQ(status.ok(), !fails) << "iteration " << i << ": " << status.message();
      if (fails) {
        EXPECT_EQ(status.code(), Code::kInvalidState);
        EXPECT_EQ(scaler->scale(), before);
        break;
      }
      ASSERT_EQ(scaler->scale(), Number(row["scale"][i])) << "iteration " << i;
      if (!row["hysteresis"][i].is_null()) {
        ASSERT_EQ(scaler->state().hysteresis, row["hysteresis"][i]) << "iteration " << i;
      }
    }
    ++compared[row["kind"]];
  }
  EXPECT_GE(compared["dynamic"], 50);
  EXPECT_GE(compared["stage0_fused"] + compared["stage0_unfused"], 20);
  EXPECT_GE(compared["static"], 3);
}

TEST(LossScale, GoesOnFromItsState) {
  const LossScaleOptions options = {.init_scale = 1024, .window = 3, .hysteresis = 3};
  auto whole = LossScaler::Create(options), first = LossScaler::Create(options);
  const auto overflows = [](int i) { return i % 7 == 2 || i % 11 < 2; };
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(first->Update(overflows(i)).ok());
  auto second = LossScaler::Create(options);
  ASSERT_TRUE(second->SetState(first->state()).ok());
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(whole->Update(overflows(i)).ok());
    if (i < 20) continue;
    ASSERT_TRUE(second->Update(overflows(i)).ok());
    ASSERT_EQ(second->scale(), whole->scale()) << i;
    ASSERT_EQ(second->state().hysteresis, whole->state().hysteresis) << i;
  }
}

TEST(LossScale, RefusesWhatCannotBe) {
  for (const LossScaleOptions& o :
       {LossScaleOptions{.init_scale = 0}, LossScaleOptions{.factor = 1},
        LossScaleOptions{.window = 0}, LossScaleOptions{.min_scale = -1},
        LossScaleOptions{.hysteresis = 0}}) {
    EXPECT_EQ(LossScaler::Create(o).status().code(), Code::kInvalidArgument);
  }
  auto scaler = LossScaler::Create({});
  const LossScaleState fresh = scaler->state();
  EXPECT_FALSE(scaler->SetState({0, 1, 0, -1}).ok());
  EXPECT_FALSE(scaler->SetState({1, 3, 0, -1}).ok());
  EXPECT_FALSE(scaler->SetState({1, 1, 5, 5}).ok());
  EXPECT_FALSE(scaler->SetState({1, 1, INT64_MAX, -1}).ok());
  EXPECT_TRUE(scaler->SetState(fresh).ok());
}

TEST(LossScale, GrowsNoFurtherThanADoubleGoes) {
  auto scaler = LossScaler::Create({.init_scale = 1e308, .window = 1});
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(scaler->Update(false).ok());
  EXPECT_EQ(scaler->scale(), 1e308);
  EXPECT_TRUE(scaler->SetState(scaler->state()).ok());
}

}  // namespace
}  // namespace ds::optim
