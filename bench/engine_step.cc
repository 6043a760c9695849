// What the engine adds to the arithmetic: the call that only counts a micro-batch, the optimizer
// phase against the bytes that it must move, and what sharding costs a step whose compute is a
// matrix product.
#include "engine/engine.h"

#include <array>
#include <functional>
#include <thread>

#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

std::unique_ptr<Engine> Make(const std::string& json, comm::Communicator& comm, TaskPool& pool) {
  return Take(Engine::Create(Take(ParseConfig(json, comm.size())), comm, pool));
}

// A call of Step() inside an accumulation window, with nothing to wait for.
void Dispatch() {
  TaskPool pool(1);
  const auto comm = comm::CreateSelf();
  const auto engine = Make(R"({"gradient_accumulation_steps": 1000000000,
               "train_micro_batch_size_per_gpu": 1})",
                           *comm, pool);
  Check(engine->store().Register({"w", {64}, "w"}, {}).status());
  Check(engine->Seal());
  constexpr int kCalls = 100000;
  std::vector<double> each;
  for (int i = 0; i < 9; ++i) {
    each.push_back(Seconds([&] {
                     for (int c = 0; c < kCalls; ++c) Take(engine->Step());
                   }) /
                   kCalls);
  }
  std::printf("step inside a window: %.0f ns\n", Median(each) * 1e9);
  Report("engine_step/dispatch", 300e-9 / Median(each), "300 ns", 1.0);
}

// Norm, clip, update, cast to bf16: 2 bytes read for the norm; then 14 read and 14 written.
void OptimizerPhase() {
  constexpr int64_t kElements = int64_t{1} << 24, kTile = 16384;
  TaskPool pool(UsableCores());
  const auto comm = comm::CreateSelf();
  const auto engine = Make(R"({"bf16": {"enabled": true}, "gradient_clipping": 1.0})", *comm, pool);
  Check(engine->store().Register({"w", {kElements}, "w"}, {}).status());
  const auto give = [&] {
    const GradView view = Take(engine->store().BeginGrad(0));
    auto* grad = static_cast<BF16*>(view.data);
    for (int64_t i = 0; i < kElements; i += 64) grad[i] = BF16(0.01f);
    Check(engine->store().EndGrad(0));
  };
  Array g(pool, DType::kBF16, kElements), w(pool, DType::kBF16, kElements);
  Array p(pool, DType::kF32, kElements), m(pool, DType::kF32, kElements);
  Array v(pool, DType::kF32, kElements);
  std::vector<uint32_t> sums(kElements / kTile);
  const auto stream = [&] {
    const auto* grad = static_cast<const uint16_t*>(g.data());
    auto* weights = static_cast<uint16_t*>(w.data());
    pool.Run(kElements / kTile, [&](int64_t tile, int) {
      uint32_t sum = 0;
      for (int64_t i = tile * kTile; i < (tile + 1) * kTile; ++i) sum += grad[i];
      sums[tile] = sum;
    });
    pool.Run(kElements / kTile, [&](int64_t tile, int) {
      float *a = p.floats(), *b = m.floats(), *c = v.floats();
      for (int64_t i = tile * kTile; i < (tile + 1) * kTile; ++i) {
        const auto add = static_cast<float>(grad[i]);
        a[i] += add, b[i] += add, c[i] += add;
        weights[i] = grad[i];
      }
    });
  };
  std::vector<double> ratios, seconds;
  for (int pair = 0; pair < 11; ++pair) {
    give();
    const double ours = Seconds([&] { Take(engine->Step()); });
    const double theirs = Seconds(stream);
    if (pair < 2) continue;
    ratios.push_back(theirs / ours);
    seconds.push_back(ours);
  }
  std::printf("optimizer phase: %.3f ns an element, %.1f GB/s\n", Median(seconds) / kElements * 1e9,
              30.0 * kElements / Median(seconds) / 1e9);
  Report("engine_step/optimizer_phase", Median(ratios), "stream of the same bytes", 1 / 1.10);
}

// Ranks with a stack of square weights, each used by one product forward and two backward.
class Ranks {
 public:
  static constexpr int kRanks = 2, kUnits = 6;
  static constexpr int64_t kWidth = 512, kRows = 1024;

  Ranks(int stage, kernels::Gemm& gemm)
      : gemm_(gemm), pool_(1), comms_(Take(comm::CreateThreads(kRanks, {}))) {
    const std::string json =
        fmt::format(R"({{"zero_optimization": {{"stage": {}, "overlap_comm": false}}}})", stage);
    OnAll([&](int rank) {
      engines_[rank] = Make(json, *comms_[rank], pool_);
      for (int u = 0; u < kUnits; ++u) {
        const std::string name = fmt::format("u{}", u);
        Check(engines_[rank]->store().Register({name, {kWidth, kWidth}, name}, {}).status());
      }
      Check(engines_[rank]->Seal());
      x_[rank].resize(kRows * kWidth, 0.01f);
      y_[rank].resize(kRows * kWidth);
    });
  }

  void Step() {
    OnAll([&](int rank) {
      zero::ShardedStore& store = engines_[rank]->store();
      for (int u = 0; u < kUnits; ++u) Use(store, rank, u);
      for (int u = kUnits - 1; u >= 0; --u) {
        Use(store, rank, u);
        const GradView view = Take(store.BeginGrad(u));
        kernels::Matmul(gemm_, pool_,
                        {.m = kWidth,
                         .n = kWidth,
                         .k = kRows,
                         .lda = kWidth,
                         .ldb = kWidth,
                         .ldc = kWidth,
                         .trans_a = true},
                        x_[rank].data(), y_[rank].data(), view.data);
        Check(store.EndGrad(u));
      }
      Take(engines_[rank]->Step());
    });
  }

 private:
  void Use(zero::ShardedStore& store, int rank, int unit) {
    const void* weights = Take(store.Acquire(unit));
    kernels::Matmul(
        gemm_, pool_,
        {.m = kRows, .n = kWidth, .k = kWidth, .lda = kWidth, .ldb = kWidth, .ldc = kWidth},
        x_[rank].data(), weights, y_[rank].data());
    Check(store.Release(unit));
  }
  static void OnAll(const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) threads.emplace_back(body, rank);
    for (std::thread& thread : threads) thread.join();
  }

  kernels::Gemm& gemm_;
  TaskPool pool_;
  std::vector<std::unique_ptr<comm::Communicator>> comms_;
  std::array<std::unique_ptr<Engine>, kRanks> engines_;
  std::array<std::vector<float>, kRanks> x_, y_;
};

void Stages(kernels::Gemm& gemm) {
  Ranks replicated(0, gemm);
  for (const auto& [stage, most] : {std::pair(1, 1.02), std::pair(2, 1.02), std::pair(3, 1.06)}) {
    Ranks sharded(stage, gemm);
    const double ratio = MedianRatio([&] { sharded.Step(); }, [&] { replicated.Step(); });
    Report(fmt::format("engine_step/stage_{}", stage).c_str(), ratio, "stage 0, the same work",
           1 / most);
  }
}

}  // namespace
}  // namespace ds::bench

int main() {
  using namespace ds::bench;
  Dispatch();
  OptimizerPhase();
  const auto gemm = BestGemm();
  Stages(*gemm);
}
