// Gathering ahead: within its budgets, also when the prediction was wrong, and never while the
// shards are written.
#include <gtest/gtest.h>

#include <algorithm>

#include "toy.h"

namespace ds {
namespace {

using device::MemoryKind;

constexpr int kPrefetchUnits = 8, kWorld = 2;
constexpr int64_t kPrefetchElements = 640;  // a shard of 320, without padding

std::string Config(int64_t live, int64_t prefetch) {
  return fmt::format(
      R"({{"zero_optimization": {{"stage": 3, "overlap_comm": true,
          "stage3_max_live_parameters": {}, "stage3_prefetch_bucket_size": {}}}}})",
      live, prefetch);
}

// Runs `body` on every rank with kPrefetchUnits units registered and sealed.
Status RunUnits(const std::string& text, const std::function<Status(Engine&)>& body) {
  TaskPool pool(1);
  return comm::RunThreads(kWorld, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
    DS_ASSIGN(const EngineConfig config, ParseConfig(text, kWorld));
    DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
    const std::vector<float> init(kPrefetchElements, 2.0f);
    for (int u = 0; u < kPrefetchUnits; ++u) {
      const std::string name = fmt::format("u{}", u);
      DS_TRY(engine->store().Register({name, {kPrefetchElements}, name}, init).status());
    }
    DS_TRY(engine->Seal());
    return body(*engine);
  });
}

Status Use(Engine& engine, int unit) {
  DS_TRY(engine.store().Acquire(unit).status());
  return engine.store().Release(unit);
}

int64_t Windows(Engine& engine) { return engine.memory().bytes(MemoryKind::kWindows); }

// What EndStep() needs of a step, without the gradients and their windows.
Status EndStep(Engine& engine) {
  DS_TRY(engine.store().EndMicroBatch());
  return engine.store().EndStep();
}

TEST(Prefetch, KeepsItsBudgets) {
  constexpr int64_t unit = kPrefetchElements;
  for (const int64_t live : {int64_t{1}, unit, 2 * unit, 3 * unit + 5, 100 * unit}) {
    for (const int64_t ahead : {int64_t{1}, unit, 2 * unit, 100 * unit}) {
      const Status status = RunUnits(Config(live, ahead), [&](Engine& engine) -> Status {
        // Forward and back; then another walk than foretold; then the first again.
        const std::vector<int> walks[] = {{0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0},
                                          {0, 1, 5, 2, 7, 0},
                                          {0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0}};
        for (const auto& walk : walks) {
          for (int step = 0; step < 2; ++step) {
            for (const int u : walk) DS_TRY(Use(engine, u));
            DS_TRY(EndStep(engine));
          }
        }
        // At least the unit in use; else no more than may live.
        EXPECT_LE(Windows(engine), 4 * std::max(live, unit)) << "live " << live << " of " << ahead;
        return {};
      });
      EXPECT_TRUE(status.ok()) << status.message();
    }
  }
}

TEST(Prefetch, RunsAheadByItsBudgetAndNoFurther) {
  for (const int64_t ahead : {0, 1, 2, 3}) {
    // One unit in use, and beside it those ahead.
    const int64_t live = (1 + ahead) * kPrefetchElements;
    const Status status = RunUnits(Config(live, std::max<int64_t>(1, ahead * kPrefetchElements)),
                                   [&](Engine& engine) -> Status {
                                     for (int step = 0; step < 2; ++step) {
                                       for (int u = 0; u < kPrefetchUnits; ++u)
                                         DS_TRY(Use(engine, u));
                                       DS_TRY(EndStep(engine));
                                     }
                                     EXPECT_EQ(Windows(engine), 4 * live);
                                     return {};
                                   });
    EXPECT_TRUE(status.ok()) << status.message();
  }
  // Where all may live, ahead or not, all do.
  const Status all = RunUnits(Config(1 << 20, 1), [&](Engine& engine) -> Status {
    for (int u = 0; u < kPrefetchUnits; ++u) DS_TRY(Use(engine, u));
    EXPECT_EQ(Windows(engine), 4 * kPrefetchUnits * kPrefetchElements);
    return {};
  });
  EXPECT_TRUE(all.ok()) << all.message();
}

// A step that uses less than was foretold leaves gathers under way when the shards are written:
// ThreadSanitizer sees one that is not waited for, and the weights show one that is kept.
TEST(Prefetch, AGatherThatNobodyUsedDoesNotMeetTheStep) {
  const Status status = RunUnits(Config(1 << 20, 1 << 20), [](Engine& engine) -> Status {
    const std::vector<float> grad(kPrefetchElements, 1.0f);
    for (int step = 0; step < 30; ++step) {
      for (int u = 0; u < (step % 2 == 0 ? kPrefetchUnits : 1); ++u) DS_TRY(Use(engine, u));
      for (int u = kPrefetchUnits - 1; u >= 0; --u) {
        DS_TRY(engine.store().AddGrad(u, DType::kF32, grad.data()));
      }
      DS_TRY(engine.Step().status());
      std::vector<float> master(kPrefetchElements);
      DS_TRY(engine.store().ReadMaster(kPrefetchUnits - 1, master));
      DS_ASSIGN(const void* weights, engine.store().Acquire(kPrefetchUnits - 1));
      EXPECT_EQ(static_cast<const float*>(weights)[kPrefetchElements - 1], master.back());
      DS_TRY(engine.store().Release(kPrefetchUnits - 1));
    }
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Prefetch, ARestoreMeetsNeitherGathersNorWorkUnderWay) {
  const Status status = RunUnits(Config(1 << 20, 1 << 20), [](Engine& engine) -> Status {
    for (int u = 0; u < kPrefetchUnits; ++u) DS_TRY(Use(engine, u));
    DS_TRY(EndStep(engine));
    DS_TRY(Use(engine, 0));  // the others are on their way
    DS_TRY(engine.store().ForEachPiece([](const StatePiece& piece) -> Status {
      std::fill(piece.data.begin(), piece.data.end(), 5.0f);
      return {};
    }));
    DS_TRY(engine.Restore({.step = 3}));
    DS_ASSIGN(const void* weights, engine.store().Acquire(kPrefetchUnits - 1));
    EXPECT_EQ(static_cast<const float*>(weights)[0], 5.0f);
    EXPECT_EQ(engine.Restore({}).message(), "u7: restored while it is acquired");
    DS_TRY(engine.store().Release(kPrefetchUnits - 1));

    const std::vector<float> grad(kPrefetchElements, 1.0f);
    DS_TRY(engine.store().AddGrad(kPrefetchUnits - 1, DType::kF32, grad.data()));
    EXPECT_EQ(engine.Restore({}).message(), "u7: restored with gradients that were not stepped");
    EXPECT_EQ(engine.step(), 3);
    return engine.Step().status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace ds
