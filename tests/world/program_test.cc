// Programs drawn by a seed: passes that read without stepping, acquires that nest, units that a
// step leaves out, gradients that come in another order on every rank or not at all. Whatever was
// gathered ahead, kept or dropped, every acquire sees the weights of a world without sharding.
#include <gtest/gtest.h>

#include <cstring>
#include <mutex>
#include <numeric>

#include "base/rng.h"
#include "toy.h"

namespace ds::toy {
namespace {

constexpr int kWorld = 3, kAccumulation = 2;
#if defined(__SANITIZE_THREAD__)
constexpr int kSteps = 3, kSeeds = 4;
#else
constexpr int kSteps = 6, kSeeds = 8;
#endif

struct Program {
  uint64_t seed;
  int stage;
  bool overlap;
  int64_t live, prefetch;
};

// Draws alike on every rank, but for what asks for a rank of its own.
class Draw {
 public:
  Draw(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  int64_t Below(int64_t n) {
    return static_cast<int64_t>(RandomBelow(seed_, stream_, next_++, static_cast<uint64_t>(n)));
  }
  void Shuffle(std::vector<int>& list) {
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[Below(i)]);
  }

 private:
  const uint64_t seed_, stream_;
  uint64_t next_ = 0;
};

struct Seen {
  std::vector<uint64_t> weights;  // a digest of what each acquire gave
  Outcome state;
};

class Rank {
 public:
  Rank(const Program& program, Engine& engine)
      : engine_(engine),
        store_(engine.store()),
        common_(program.seed, 0),
        own_(program.seed, 1 + engine.comm().rank()) {}

  Status Run() {
    for (step_ = 0; step_ < kSteps; ++step_) {
      for (int64_t pass = common_.Below(3); pass > 0; --pass) DS_TRY(ReadSome());
      for (micro_ = 0; micro_ < kAccumulation; ++micro_) {
        DS_TRY(ReadSome());
        DS_TRY(HandOver());
        DS_TRY(engine_.Step().status());
      }
    }
    return {};
  }

  const std::vector<uint64_t>& seen() const { return seen_; }

 private:
  Status Acquire(int p) {
    DS_ASSIGN(const void* weights, store_.Acquire(p));
    const auto* words = static_cast<const uint16_t*>(weights);
    uint64_t digest = 1469598103934665603;
    const int64_t count = store_.spec(p).numel() * static_cast<int64_t>(DTypeBytes(store_.dtype()));
    for (int64_t i = 0; i < count / 2; ++i) digest = (digest ^ words[i]) * 1099511628211;
    seen_.push_back(digest);
    return {};
  }

  // A walk over some parameters, up to three acquired at once.
  Status ReadSome() {
    std::vector<int> held;
    const bool all = common_.Below(2) == 0;
    for (int p = 0; p < store_.param_count(); ++p) {
      if (!all && common_.Below(3) == 0) continue;
      DS_TRY(Acquire(p));
      held.push_back(p);
      if (held.size() <= static_cast<size_t>(common_.Below(3))) continue;
      DS_TRY(store_.Release(held.front()));
      held.erase(held.begin());
    }
    for (const int p : held) DS_TRY(store_.Release(p));
    return {};
  }

  // Backward: a few parameters at a time, their gradients in an order of this rank's own.
  Status HandOver() {
    for (int last = store_.param_count(); last > 0;) {
      const int first = static_cast<int>(std::max<int64_t>(0, last - 1 - common_.Below(4)));
      DS_TRY(Acquire(last - 1));
      DS_TRY(store_.Release(last - 1));
      std::vector<int> params;
      for (int p = first; p < last; ++p) {
        if (common_.Below(8) != 0) params.push_back(p);
      }
      own_.Shuffle(params);
      for (const int p : params) DS_TRY(Give(p));
      last = first;
    }
    return {};
  }

  Status Give(int p) {
    if (!store_.spec(p).trainable) return {};
    const Trial values;
    std::vector<float> grad(store_.spec(p).numel());
    for (size_t i = 0; i < grad.size(); ++i) {
      grad[i] = GradAt(values, step_, micro_, engine_.comm().rank(), p, static_cast<int64_t>(i));
    }
    return store_.AddGrad(p, DType::kF32, grad.data());
  }

  Engine& engine_;
  zero::ShardedStore& store_;
  Draw common_, own_;
  int step_ = 0, micro_ = 0;
  std::vector<uint64_t> seen_;
};

Seen RunProgram(const Program& program, DType dtype) {
  const std::string text = fmt::format(
      R"({{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": {},
          "bf16": {{"enabled": {}}}, "optimizer": {{"type": "Adam", "params": {{"lr": 0.01}}}},
          "zero_optimization": {{"stage": {}, "overlap_comm": {},
                                 "stage3_max_live_parameters": {},
                                 "stage3_prefetch_bucket_size": {}}}}})",
      kAccumulation, dtype == DType::kBF16, program.stage, program.overlap, program.live,
      program.prefetch);
  Seen seen;
  std::mutex mutex;  // guards seen
  TaskPool pool(2);
  const Status status =
      comm::RunThreads(kWorld, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
        DS_ASSIGN(const EngineConfig config, ParseConfig(text, comm.size()));
        DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
        DS_TRY(RegisterAll(*engine));
        Rank rank(program, *engine);
        DS_TRY(rank.Run());
        const std::lock_guard lock(mutex);
        if (comm.rank() == kWorld - 1) seen.weights = rank.seen();
        return engine->store().ForEachPiece([&](const StatePiece& piece) -> Status {
          auto& whole = seen.state.state[piece.name];
          whole.resize(piece.numel);
          std::copy(piece.data.begin(), piece.data.end(), whole.begin() + piece.begin);
          return {};
        });
      });
  EXPECT_TRUE(status.ok()) << status.message();
  return seen;
}

class ProgramTest : public testing::TestWithParam<int> {};  // the seed

TEST_P(ProgramTest, SeesAndLeavesTheSameEverywhere) {
  const auto seed = static_cast<uint64_t>(GetParam());
  const DType dtype = seed % 2 == 0 ? DType::kF32 : DType::kBF16;
  const Seen want = RunProgram({seed, 0, false, 1, 1}, dtype);
  ASSERT_FALSE(want.weights.empty());
  const Program programs[] = {
      {seed, 1, true, 2500, 1000}, {seed, 2, false, 2500, 1000},  {seed, 2, true, 2500, 1000},
      {seed, 3, false, 1, 1},      {seed, 3, true, 1, 1},         {seed, 3, true, 800, 1 << 20},
      {seed, 3, true, 2500, 600},  {seed, 3, true, 19000, 18000}, {seed, 3, true, 1 << 30, 1 << 20},
  };
  for (const Program& program : programs) {
    const Seen got = RunProgram(program, dtype);
    const std::string label =
        fmt::format("seed {} stage {} overlap {} live {} prefetch {}", seed, program.stage,
                    program.overlap, program.live, program.prefetch);
    EXPECT_EQ(got.weights, want.weights) << label;
    ASSERT_EQ(got.state.state.size(), want.state.state.size()) << label;
    for (const auto& [name, a] : want.state.state) {
      const auto& b = got.state.state.at(name);
      ASSERT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0)
          << label << " " << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ProgramTest, testing::Range(0, kSeeds));

}  // namespace
}  // namespace ds::toy
