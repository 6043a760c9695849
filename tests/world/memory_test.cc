// Bytes per rank, from the engine's own account and from the allocator beneath it: 16P, 4P + 12P/N,
// 2P + 14P/N and 16P/N for stages 0 to 3 in bf16 AdamW (Rajbhandari et al. 2020, figure 1), plus
// padding and the windows; and no allocation in a step once the program is warm.
#include <gtest/gtest.h>

#include <atomic>

#include "counting_malloc.h"
#include "toy.h"

namespace ds {
namespace {

using device::MemoryKind;

constexpr int kUnits = 4;
constexpr int64_t kUnitElements = 1003 * 64 + 5;

Status RegisterUnits(Engine& engine) {
  for (int u = 0; u < kUnits; ++u) {
    const std::string name = fmt::format("u{}", u);
    DS_ASSIGN([[maybe_unused]] const ParamId id,
              engine.store().Register({name, {kUnitElements}, name}, {}));
  }
  return engine.Seal();
}

Status Step(Engine& engine, const std::vector<float>& grad) {
  for (int u = 0; u < kUnits; ++u) {
    DS_TRY(engine.store().Acquire(u).status());
    DS_TRY(engine.store().Release(u));
  }
  for (int u = kUnits - 1; u >= 0; --u) {
    DS_TRY(engine.store().Acquire(u).status());
    DS_TRY(engine.store().Release(u));
    DS_TRY(engine.store().AddGrad(u, DType::kF32, grad.data()));
  }
  return engine.Step().status();
}

class Memory : public testing::TestWithParam<std::tuple<int, int, DType>> {};

TEST_P(Memory, IsWhatThePlacementSays) {
  const auto [stage, world, dtype] = GetParam();
  const int64_t live = 2 * ShardLayout{kUnitElements, world}.padded();
  const std::string text = fmt::format(
      R"({{"bf16": {{"enabled": {}}}, "zero_optimization": {{"stage": {}, "overlap_comm": true,
          "stage3_max_live_parameters": {}, "stage3_prefetch_bucket_size": {}}}}})",
      dtype == DType::kBF16, stage, live, live / 2);
  TaskPool pool(1);
  const auto body = [&, stage = stage, world = world,
                     dtype = dtype](comm::Communicator& comm) -> Status {
    DS_ASSIGN(const EngineConfig config, ParseConfig(text, world));
    DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
    DS_TRY(RegisterUnits(*engine));
    const std::vector<float> grad(kUnitElements, 0.25f);
    for (int i = 0; i < 3; ++i) DS_TRY(Step(*engine, grad));

    const ShardLayout layout{kUnitElements, world};
    const int64_t full = kUnits * layout.padded(), shard = kUnits * layout.shard();
    const int64_t width = DTypeBytes(dtype);
    const auto extent = [&](bool sharded) { return sharded ? shard : full; };
    const auto& memory = engine->memory();
    EXPECT_EQ(memory.bytes(MemoryKind::kWeights), width * extent(stage >= 3));
    EXPECT_EQ(memory.bytes(MemoryKind::kGradients), width * extent(stage >= 2));
    EXPECT_EQ(memory.bytes(MemoryKind::kMaster), dtype == DType::kF32 ? 0 : 4 * extent(stage >= 1));
    EXPECT_EQ(memory.bytes(MemoryKind::kMoments), 8 * extent(stage >= 1));
    // Padding is below one alignment a rank and unit; the rest are the published formulas.
    const double p = static_cast<double>(kUnits) * kUnitElements, n = world;
    const double formula[] = {16 * p, 4 * p + 12 * p / n, 2 * p + 14 * p / n, 16 * p / n};
    const double padding = 16.0 * kUnits * world * kShardAlignment;
    const double state = static_cast<double>(
        memory.bytes(MemoryKind::kWeights) + memory.bytes(MemoryKind::kGradients) +
        memory.bytes(MemoryKind::kMaster) + memory.bytes(MemoryKind::kMoments));
    if (dtype == DType::kBF16) {
      EXPECT_GE(state, formula[stage]);
      EXPECT_LE(state, formula[stage] + padding);
    }
    // Windows: what may be live, and at most three units of gradients on their way.
    const int64_t windows = memory.bytes(MemoryKind::kWindows);
    const int64_t unit = layout.padded() * width;
    EXPECT_LE(windows, (stage >= 3 ? live * width : 0) + (stage >= 2 ? 3 * unit : 0));
    EXPECT_GE(windows, stage >= 2 ? unit : 0);
    return {};
  };
  const Status status = comm::RunThreads(world, {.timeout_seconds = 60}, body);
  EXPECT_TRUE(status.ok()) << status.message();
}

INSTANTIATE_TEST_SUITE_P(World, Memory,
                         testing::Combine(testing::Values(0, 1, 2, 3), testing::Values(2, 4),
                                          testing::Values(DType::kF32, DType::kBF16)));

// The account is not alone in saying so: what the process holds more once the ranks' engines are
// warm is what their accounts add up to, and the little that is no array.
TEST(Memory, TheAllocatorSaysTheSame) {
  if (!DS_COUNTS_MALLOC) GTEST_SKIP() << "a sanitizer has its own allocator";
  for (const int world : {2, 4}) {
    for (int stage = 0; stage <= 3; ++stage) {
      const int64_t unit = ShardLayout{kUnitElements, world}.padded();
      const std::string text = fmt::format(
          R"({{"bf16": {{"enabled": true}},
              "zero_optimization": {{"stage": {}, "overlap_comm": true,
                                     "stage3_max_live_parameters": {}}}}})",
          stage, 2 * unit);
      TaskPool pool(1);
      std::atomic<int64_t> booked = 0, held = 0;
      const Status status =
          comm::RunThreads(world, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
            const std::vector<float> grad(kUnitElements, 0.25f);
            DS_TRY(comm.Barrier("before"));
            const int64_t before = test::BytesInUse();
            DS_TRY(comm.Barrier("counted"));
            DS_ASSIGN(const EngineConfig config, ParseConfig(text, world));
            DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
            DS_TRY(RegisterUnits(*engine));
            for (int i = 0; i < 3; ++i) DS_TRY(Step(*engine, grad));
            booked += engine->memory().total();
            DS_TRY(comm.Barrier("warm"));
            if (comm.rank() == 0) held = test::BytesInUse() - before;
            return comm.Barrier("after");
          });
      EXPECT_TRUE(status.ok()) << status.message();
      const double p = static_cast<double>(kUnits) * kUnitElements, n = world;
      const double formula[] = {16 * p, 4 * p + 12 * p / n, 2 * p + 14 * p / n, 16 * p / n};
      const auto windows = static_cast<double>((stage >= 3 ? 4 : 0) + (stage >= 2 ? 6 : 0)) *
                           static_cast<double>(unit);
      const double rest = 64 << 10;  // names, tables, the rings of the streams
      EXPECT_GE(held, booked) << "world " << world << " stage " << stage;
      EXPECT_LE(held, booked + rest * n) << "world " << world << " stage " << stage;
      EXPECT_GE(held, n * formula[stage]) << "world " << world << " stage " << stage;
      EXPECT_LE(held, n * (formula[stage] + windows + rest))
          << "world " << world << " stage " << stage;
    }
  }
}

TEST(Memory, AWarmStepAllocatesNothing) {
  if (!DS_COUNTS_MALLOC) GTEST_SKIP() << "a sanitizer has its own allocator";
  for (const int world : {1, 4}) {
    for (int stage = 0; stage <= 3; ++stage) {
      for (const bool overlap : {false, true}) {
        TaskPool pool(2);
        std::atomic<int64_t> counted = 0;
        const std::string text = fmt::format(
            R"({{"bf16": {{"enabled": true}},
                "zero_optimization": {{"stage": {}, "overlap_comm": {},
                                       "stage3_max_live_parameters": 150000}}}})",
            stage, overlap);
        const Status status = comm::RunThreads(
            world, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
              DS_ASSIGN(const EngineConfig config, ParseConfig(text, world));
              DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
              DS_TRY(RegisterUnits(*engine));
              const std::vector<float> grad(kUnitElements, 0.25f);
              for (int i = 0; i < 3; ++i) DS_TRY(Step(*engine, grad));
              const int64_t bytes = engine->memory().total();
              DS_TRY(comm.Barrier("warm"));
              const int64_t before = test::AllocationCalls();
              for (int i = 0; i < 5; ++i) DS_TRY(Step(*engine, grad));
              DS_TRY(comm.Barrier("done"));
              counted += test::AllocationCalls() - before;
              DS_TRY(comm.Barrier("counted"));  // the end of an engine allocates
              EXPECT_EQ(engine->memory().total(), bytes);
              return {};
            });
        EXPECT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(counted, 0) << "world " << world << " stage " << stage << " overlap " << overlap;
      }
    }
  }
}

}  // namespace
}  // namespace ds
