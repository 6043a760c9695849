// What an engine does on several ranks beside training: overflow, hooks, groups, frozen and empty
// parameters, very many of them, statistics.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <mutex>

#include "base/log.h"

namespace ds {
namespace {

using Body = std::function<Status(Engine&)>;

// Runs the body on every rank, each with an engine of this config.
Status OnRanks(int world, const std::string& json, const Body& body) {
  TaskPool pool(1);
  return comm::RunThreads(world, {.timeout_seconds = 20}, [&](comm::Communicator& comm) -> Status {
    DS_ASSIGN(const EngineConfig config, ParseConfig(json, comm.size()));
    DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
    return body(*engine);
  });
}

std::string StageJson(int stage, const std::string& more) {
  return fmt::format(R"({{"zero_optimization": {{"stage": {}}}, {}
                         "optimizer": {{"type": "SGD", "params": {{"lr": 0.5}}}}}})",
                     stage, more);
}

Status StepWith(Engine& engine, float value, StepInfo* out = nullptr) {
  for (int p = 0; p < engine.store().param_count(); ++p) {
    const ParamSpec& spec = engine.store().spec(p);
    if (!spec.trainable) continue;
    const std::vector<float> grad(spec.numel(), value);
    DS_TRY(engine.store().AddGrad(p, DType::kF32, grad.data()));
  }
  DS_ASSIGN(const StepInfo info, engine.Step());
  if (out != nullptr) *out = info;
  return {};
}

Result<float> FirstValue(Engine& engine, ParamId id) {
  std::vector<float> values(engine.store().spec(id).numel());
  DS_TRY(engine.store().ReadMaster(id, values));
  return values.at(0);
}

#define CHECK_THAT(condition) \
  if (!(condition)) return Error(Code::kInternal, "rank {}: {}", engine.comm().rank(), #condition)

TEST(Engine, OneRanksOverflowSkipsTheStepOnAll) {
  for (int stage = 0; stage <= 3; ++stage) {
    const Status status =
        OnRanks(2, StageJson(stage, R"("fp16": {"enabled": true, "initial_scale_power": 4,
                                        "hysteresis": 2, "loss_scale_window": 2},)"),
                [&](Engine& engine) -> Status {
                  DS_TRY(engine.store().Register({"w", {70}, "w"}, {}).status());
                  // Overflow twice: borne once, then halved. Two steps without one: doubled.
                  const double scales[] = {16, 16, 8, 8, 8, 16};
                  const bool overflows[] = {true, true, false, false, false, false};
                  for (int step = 0; step < 6; ++step) {
                    CHECK_THAT(engine.loss_scale() == scales[step]);
                    const bool mine = overflows[step] && engine.comm().rank() == 1;
                    StepInfo info;
                    DS_TRY(StepWith(
                        engine, mine ? 70000.0f : static_cast<float>(engine.loss_scale()), &info));
                    CHECK_THAT(info.loss_scale == scales[step]);
                    CHECK_THAT(info.skipped == overflows[step]);
                    CHECK_THAT(info.applied != overflows[step]);
                  }
                  CHECK_THAT(engine.stats().skipped == 2 && engine.stats().steps == 4);
                  // Four steps of 0.5 along a gradient of ones, whose norm was clipped to 1.
                  DS_ASSIGN(const float value, FirstValue(engine, 0));
                  CHECK_THAT(std::abs(value + 4 * 0.5 / std::sqrt(70.0)) < 1e-3);
                  return {};
                });
    EXPECT_TRUE(status.ok()) << "stage " << stage << ": " << status.message();
  }
}

TEST(Engine, LogsEverySoManyBoundariesSkippedOrNot) {
  std::vector<std::string> lines;
  SetLogSink(LogLevel::kInfo, [&](LogLevel, std::string_view, std::string_view text) {
    lines.emplace_back(text.substr(0, text.find(", lr")));
  });
  const Status status = OnRanks(1, StageJson(0, R"("steps_per_print": 2,)"), [](Engine& engine) {
    DS_TRY(engine.store().Register({"w", {4}, "w"}, {}).status());
    const float bad = std::numeric_limits<float>::infinity();
    for (const float grad : {bad, 1.0f, bad, bad, bad, 1.0f, 1.0f}) {
      DS_TRY(StepWith(engine, grad));
    }
    return Status();
  });
  SetLogSink(LogLevel::kWarning, {});
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(lines, (std::vector<std::string>{"step=1, skipped=1", "step=1, skipped=3",
                                             "step=2, skipped=4"}));
}

TEST(Engine, AnOverflowAtTheLeastScaleEndsTheWindowAndNotTheEngine) {
  const Status status = OnRanks(
      2, StageJson(2, R"("fp16": {"enabled": true, "initial_scale_power": 1, "hysteresis": 1},)"),
      [&](Engine& engine) -> Status {
        DS_TRY(engine.store().Register({"w", {7}, "w"}, {}).status());
        DS_TRY(StepWith(engine, 1e9f));
        const Status failed = StepWith(engine, 1e9f);
        CHECK_THAT(failed.code() == Code::kInvalidState);
        CHECK_THAT(failed.message() ==
                   "the gradients overflow at loss scale 1, which is the least");
        StepInfo info;
        DS_TRY(StepWith(engine, 1.0f, &info));
        CHECK_THAT(info.applied && info.step == 1);
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(StepHook, WhatOneRankAnswersHoldsForAll) {
  for (const int stage : {0, 3}) {
    const Status status = OnRanks(3, StageJson(stage, ""), [&](Engine& engine) -> Status {
      DS_TRY(engine.store().Register({"w", {70}, "w"}, {}).status());
      StepVerdict verdict = StepVerdict::kContinue;
      int calls = 0;
      if (engine.comm().rank() == 1) {  // the others have none
        engine.AddStepHook([&](const StepInfo& info) -> Result<StepVerdict> {
          ++calls;
          if (info.applied || info.grad_norm <= 0) return Error(Code::kInternal, "too late");
          return verdict;
        });
      }
      StepInfo info;
      DS_TRY(StepWith(engine, 1, &info));
      CHECK_THAT(info.applied && info.step == 1);
      DS_ASSIGN(const float before, FirstValue(engine, 0));
      verdict = StepVerdict::kSkip;
      DS_TRY(StepWith(engine, 1, &info));
      CHECK_THAT(!info.applied && info.skipped && info.step == 1);
      verdict = StepVerdict::kAbort;
      const Status aborted = StepWith(engine, 1);
      CHECK_THAT(aborted.code() == Code::kCallback);
      CHECK_THAT(aborted.message() == "step 1: a step hook of rank 1 aborted");
      DS_ASSIGN(const float after, FirstValue(engine, 0));
      CHECK_THAT(before == after);
      verdict = StepVerdict::kContinue;
      DS_TRY(StepWith(engine, 1, &info));  // usable as before
      CHECK_THAT(info.applied && info.step == 2);
      CHECK_THAT(calls == (engine.comm().rank() == 1 ? 4 : 0));
      return {};
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST(StepHook, AFailureKeepsItsOwnWordsOnItsOwnRank) {
  const Status status = OnRanks(2, StageJson(1, ""), [&](Engine& engine) -> Status {
    DS_TRY(engine.store().Register({"w", {7}, "w"}, {}).status());
    engine.AddStepHook([&](const StepInfo&) -> Result<StepVerdict> {
      if (engine.comm().rank() == 0) return Error(Code::kIo, "the disk is full");
      return StepVerdict::kContinue;
    });
    const Status failed = StepWith(engine, 1);
    CHECK_THAT(
        failed.message() ==
        (engine.comm().rank() == 0 ? "the disk is full" : "step 0: a step hook of rank 0 aborted"));
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Groups, HaveTheirOwnHyperParameters) {
  const Status status =
      OnRanks(2, StageJson(3, R"("gradient_clipping": 0,)"), [&](Engine& engine) -> Status {
        DS_ASSIGN(const int slow, engine.AddGroup(R"({"lr": 0.25})"));
        DS_ASSIGN(const int still, engine.AddGroup(R"({"lr": 0})"));
        CHECK_THAT(slow == 1 && still == 2);
        for (int g = 0; g < 3; ++g) {
          DS_TRY(
              engine.store()
                  .Register({.name = fmt::format("w{}", g), .shape = {40}, .unit = "u", .group = g},
                            {})
                  .status());
        }
        DS_TRY(StepWith(engine, 1));
        const float want[] = {-0.5f, -0.25f, 0};
        for (int g = 0; g < 3; ++g) {
          DS_ASSIGN(const float value, FirstValue(engine, g));
          CHECK_THAT(value == want[g]);
        }
        CHECK_THAT(engine.AddGroup("{}").status().code() == Code::kInvalidState);
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();
}

// Without warmup_max_lr each rises to the rate of its own; Muon's other half is such a one.
TEST(Groups, RiseToTheirOwnRates) {
  const std::string warmup = R"("scheduler": {"type": "WarmupLR", "params":
      {"warmup_num_steps": 2, "warmup_type": "linear"}}, )";
  Status status = OnRanks(
      2, StageJson(3, R"("gradient_clipping": 0, )" + warmup), [&](Engine& engine) -> Status {
        DS_TRY(engine.AddGroup(R"({"lr": 0.25})").status());
        for (int g = 0; g < 2; ++g) {
          ParamSpec spec = {.name = fmt::format("w{}", g), .shape = {40}, .unit = "u", .group = g};
          DS_TRY(engine.store().Register(std::move(spec), {}).status());
        }
        for (int step = 0; step < 4; ++step) DS_TRY(StepWith(engine, 1));
        const float want[] = {-0.75f, -0.375f};  // 0, 0, half and all of the rate
        for (int g = 0; g < 2; ++g) {
          DS_ASSIGN(const float value, FirstValue(engine, g));
          CHECK_THAT(value == want[g]);
        }
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();

  for (const bool cycles : {false, true}) {
    const std::string schedule = cycles ? R"("scheduler": {"type": "OneCycle", "params":
        {"cycle_min_lr": 0.5, "cycle_max_lr": 0.5, "cycle_min_mom": 0, "cycle_max_mom": 0}}, )"
                                        : warmup;
    const std::string config = fmt::format(
        R"({{"train_batch_size": 1, "gradient_clipping": 0, {}"optimizer": {{"type": "Muon",
            "params": {{"muon_lr": 0.25, "adam_lr": 0.5, "betas": [0.75, 0.875], "eps": 0}}}}}})",
        schedule);
    status = OnRanks(1, config, [&](Engine& engine) -> Status {
      DS_TRY(engine.store().Register({.name = "bias", .shape = {4}, .unit = {}}, {}).status());
      for (const float grad : {1.0f, 0.0f, 2.0f}) DS_TRY(StepWith(engine, grad));
      DS_ASSIGN(const float value, FirstValue(engine, 0));
      // The third step alone has a rate with WarmupLR; with betas of 0 it would be the whole of it.
      double m = 0, v = 0, want = 0;
      int t = 0;
      for (const double grad : {1.0, 0.0, 2.0}) {
        ++t;
        m = 0.75 * m + 0.25 * grad;
        v = 0.875 * v + 0.125 * grad * grad;
        const double lr = cycles ? 0.5 : t == 3 ? 0.25 : 0;
        want -= lr * (m / (1 - std::pow(0.75, t))) / std::sqrt(v / (1 - std::pow(0.875, t)));
      }
      CHECK_THAT(std::abs(value - want) < 1e-5);
      return {};
    });
    EXPECT_TRUE(status.ok()) << (cycles ? "OneCycle: " : "WarmupLR: ") << status.message();
  }
}

TEST(Groups, AreRefusedByNameAndComparedOverTheRanks) {
  Status status = OnRanks(1, StageJson(0, ""), [&](Engine& engine) -> Status {
    CHECK_THAT(engine.AddGroup(R"({"lrr": 1})").status().code() == Code::kConfig);
    CHECK_THAT(engine.AddGroup("[]").status().message() ==
               "group: the text is an array, not an object");
    return engine.store()
        .Register({.name = "w", .shape = {4}, .unit = {}, .group = 1}, {})
        .status();
  });
  EXPECT_EQ(status.message(), "w: group 1, there are 1");
  status = OnRanks(2, StageJson(0, ""), [&](Engine& engine) -> Status {
    const bool first = engine.comm().rank() == 0;
    DS_TRY(engine.AddGroup(first ? R"({"lr": 0.25})" : R"({"lr": 0.125})").status());
    return engine.Seal();
  });
  EXPECT_EQ(status.code(), Code::kRankMismatch);
  EXPECT_NE(status.message().find("parameter group 1: rank 0 has"), std::string::npos)
      << status.message();
}

TEST(Frozen, ParametersHaveWeightsAlone) {
  for (int stage = 0; stage <= 3; ++stage) {
    const Status status = OnRanks(
        2, StageJson(stage, R"("bf16": {"enabled": true},)"), [&](Engine& engine) -> Status {
          const std::vector<float> init(64, 1.5f);
          DS_TRY(
              engine.store()
                  .Register({.name = "base", .shape = {64}, .unit = "u", .trainable = false}, init)
                  .status());
          DS_TRY(engine.Seal());
          const auto& memory = engine.memory();
          CHECK_THAT(memory.total() == (stage == 3 ? 64 : 128));
          const Status refused = engine.store().AddGrad(0, DType::kF32, init.data());
          CHECK_THAT(refused.message() == "base: is frozen, and takes no gradient");
          DS_ASSIGN(const void* weights, engine.store().Acquire(0));
          CHECK_THAT(static_cast<float>(static_cast<const BF16*>(weights)[63]) == 1.5f);
          DS_TRY(engine.store().Release(0));
          DS_TRY(engine.Step().status());  // nothing to train, and no harm
          DS_ASSIGN(const float value, FirstValue(engine, 0));
          CHECK_THAT(value == 1.5f);
          return {};
        });
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST(Engine, TakesTwentyThousandTinyParameters) {
  constexpr int kCount = 20000;
  for (const bool own_units : {false, true}) {
    const Status status = OnRanks(2, StageJson(3, ""), [&](Engine& engine) -> Status {
      for (int p = 0; p < kCount; ++p) {
        const std::string name = fmt::format("p{}", p);
        // A unit each is the worst there is: 100 a unit else.
        const std::string unit = own_units ? fmt::format("u{}", p / 100) : "";
        DS_TRY(engine.store().Register({name, {1 + p % 3}, unit}, {}).status());
      }
      for (int step = 0; step < 2; ++step) DS_TRY(StepWith(engine, 1));
      DS_ASSIGN(const float first, FirstValue(engine, 0));
      DS_ASSIGN(const float last, FirstValue(engine, kCount - 1));
      CHECK_THAT(first < 0 && first == last);
      return {};
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST(Engine, CountsWhatItCommunicates) {
  const Status status = OnRanks(4, StageJson(3, ""), [&](Engine& engine) -> Status {
    DS_TRY(engine.store().Register({"w", {4096}, "w"}, {}).status());
    DS_TRY(engine.Seal());
    const auto& traffic = engine.traffic();
    using enum comm::Collective;
    const int64_t gathered = traffic.bytes(kAllGather), reduced = traffic.bytes(kReduceScatter);
    DS_TRY(engine.store().Acquire(0).status());
    DS_TRY(engine.store().Release(0));
    DS_TRY(StepWith(engine, 1));
    CHECK_THAT(traffic.bytes(kAllGather) - gathered == 4096);         // a quarter, in fp32
    CHECK_THAT(traffic.bytes(kReduceScatter) - reduced == 4096 * 4);  // all of it
    CHECK_THAT(traffic.calls(kReduceScatter) == 1);
    const EngineStats stats = engine.stats();
    CHECK_THAT(stats.steps == 1 && std::abs(stats.grad_norm - 64) < 1e-9);
    CHECK_THAT(stats.phases.update > 0 && stats.phases.norm > 0 && stats.phases.gather > 0);
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Engine, SeveralLiveInOneProcess) {
  const Status status = OnRanks(2, StageJson(3, ""), [&](Engine& engine) -> Status {
    TaskPool pool(1);
    DS_ASSIGN(const EngineConfig config, ParseConfig(StageJson(1, ""), engine.comm().size()));
    DS_ASSIGN(const auto other, Engine::Create(config, engine.comm(), pool));
    DS_TRY(engine.store().Register({"w", {33}, "w"}, {}).status());
    DS_TRY(other->store().Register({"w", {33}, "w"}, {}).status());
    for (int step = 0; step < 3; ++step) {
      DS_TRY(StepWith(engine, 1));
      DS_TRY(StepWith(*other, 1));
    }
    DS_ASSIGN(const float mine, FirstValue(engine, 0));
    DS_ASSIGN(const float theirs, FirstValue(*other, 0));
    CHECK_THAT(mine == theirs && mine < 0);
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(ExpertTag, IsKeptAndCompared) {
  const Status status = OnRanks(2, StageJson(0, ""), [&](Engine& engine) -> Status {
    ParamSpec spec = {.name = "w", .shape = {4}, .unit = {}};
    spec.expert_group = engine.comm().rank() == 0 ? "mlp" : "attention";
    DS_TRY(engine.store().Register(spec, {}).status());
    return engine.Seal();
  });
  EXPECT_EQ(status.code(), Code::kRankMismatch);
  EXPECT_NE(status.message().find("of experts mlp"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace ds
