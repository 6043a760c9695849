// How much of the machine's matrix product a whole training step reaches: a GPT-2 of 11 million
// parameters, forward, backward, clipping and AdamW, against the best rate of large products on the
// same pool in the same seconds. And what four ranks on the same cores cost at stage 3.
#include <array>
#include <functional>

#include "comm/communicator.h"
#include "engine/engine.h"
#include "model/decoder.h"
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

const model::DecoderConfig kModel = {
    .vocab = 256, .context = 256, .layers = 6, .heads = 6, .width = 384};
constexpr int64_t kBatch = 8;

// One rank's engine and model, and a batch of its own.
class Trainer {
 public:
  Trainer(DType dtype, int stage, int64_t batch, comm::Communicator& comm, TaskPool& pool,
          kernels::Gemm& gemm)
      : batch_(batch) {
    const std::string text = fmt::format(
        R"({{"train_micro_batch_size_per_gpu": {}, "gradient_clipping": 1.0,
             "bf16": {{"enabled": {}}}, "zero_optimization": {{"stage": {}}},
             "optimizer": {{"type": "AdamW", "params": {{"lr": 0.001, "weight_decay": 0.1}}}}}})",
        batch, dtype == DType::kBF16, stage);
    engine_ = Take(Engine::Create(Take(ParseConfig(text, comm.size())), comm, pool));
    model_ = Take(model::Decoder::Create(kModel, {}, pool, gemm, engine_->memory()));
    Check(model_->RegisterParams(engine_->store(), [&](const model::Param& param) {
      return model::RandomValues(pool, 1, param);
    }));
    Check(engine_->Seal());
    for (int64_t i = 0; i < batch * kModel.context; ++i) {
      ids_.push_back(static_cast<int32_t>((i * 7919 + i / 13) % kModel.vocab));
      targets_.push_back(static_cast<int32_t>((i * 104729 + 5) % kModel.vocab));
    }
  }

  void Step() {
    const model::TokenBatch tokens{batch_, kModel.context, ids_.data(), targets_.data()};
    const double count = static_cast<double>(ids_.size());
    Take(model_->ForwardBackward(tokens, static_cast<float>(1.0 / count)));
    Take(engine_->Step());
  }
  double flops() const {
    return kModel.TrainFlopsPerToken(kModel.context) * static_cast<double>(ids_.size());
  }

 private:
  const int64_t batch_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<model::Decoder> model_;
  std::vector<int32_t> ids_, targets_;
};

void ShareOfPeak(const char* name, DType dtype, double goal, kernels::Gemm& gemm) {
  TaskPool pool(Cores());
  const auto comm = comm::CreateSelf();
  Trainer trainer(dtype, 0, kBatch, *comm, pool, gemm);
  std::array products{SquareProduct(pool, gemm, dtype, 1024),
                      SquareProduct(pool, gemm, dtype, 1536),
                      SquareProduct(pool, gemm, dtype, 2048)};
  std::vector<double> shares, rates, peaks;
  for (int pair = 0; pair < 13; ++pair) {
    const double rate = trainer.flops() / Seconds([&] { trainer.Step(); });
    double peak = 0;
    for (SquareProduct& product : products) {
      peak = std::max(peak, product.flops() / Seconds([&] { product.Run(); }));
    }
    if (pair < 2) continue;  // caches, pages, code
    shares.push_back(rate / peak);
    rates.push_back(rate);
    peaks.push_back(peak);
  }
  std::printf("%s: %.0f GFLOP/s, products %.0f, %.1f ms a step\n", name, Median(rates) / 1e9,
              Median(peaks) / 1e9, trainer.flops() / Median(rates) * 1e3);
  Report(name, Median(shares), "matrix product peak", goal);
}

// The same tokens by four ranks with everything sharded, and by one rank with nothing.
void FourRanks(DType dtype, kernels::Gemm& gemm) {
  constexpr int kRanks = 4;
  TaskPool pool(Cores()), shared(TaskPool::SizeFor(Cores(), kRanks));
  const auto self = comm::CreateSelf();
  Trainer alone(dtype, 0, kBatch, *self, pool, gemm);
  const auto comms = Take(comm::CreateThreads(kRanks, {}));
  std::unique_ptr<Trainer> trainers[kRanks];
  const auto on_all = [&](const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) threads.emplace_back(body, rank);
    for (std::thread& thread : threads) thread.join();
  };
  on_all([&](int rank) {
    trainers[rank] =
        std::make_unique<Trainer>(dtype, 3, kBatch / kRanks, *comms[rank], shared, gemm);
  });
  const double ratio = MedianRatio([&] { on_all([&](int rank) { trainers[rank]->Step(); }); },
                                   [&] { alone.Step(); });
  Report("train_step/fp32_4_ranks_stage_3", ratio, "one rank, the same tokens", 0.8);
}

}  // namespace
}  // namespace ds::bench

int main() {
  using namespace ds;
  const auto gemm = bench::BestGemm();
  bench::ShareOfPeak("train_step/fp32", DType::kF32, 0.5, *gemm);
  bench::ShareOfPeak("train_step/bf16", DType::kBF16, 0.35, *gemm);
  bench::FourRanks(DType::kF32, *gemm);
}
