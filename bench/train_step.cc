// How much of the machine's matrix product a whole training step reaches: forward, backward,
// clipping and AdamW of a GPT-2 of 124 million parameters, with many short sequences and with one
// long one, and of one of 11 million, against the best rate of large products on the same pool in
// the same seconds. And what four ranks on the same cores cost the small one at stage 3.
#include <functional>
#include <thread>

#include "comm/communicator.h"
#include "engine/engine.h"
#include "model/decoder.h"
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

const model::DecoderConfig kSmall = {
    .vocab = 256, .context = 256, .layers = 6, .heads = 6, .width = 384};
const model::DecoderConfig kGpt2 = {
    .vocab = 50257, .context = 1024, .layers = 12, .heads = 12, .width = 768};
constexpr int64_t kBatch = 8;  // of the small one

// One rank's engine and model, and a batch of its own.
class Trainer {
 public:
  Trainer(const model::DecoderConfig& config, DType dtype, int stage, int64_t batch, int64_t tokens,
          comm::Communicator& comm, TaskPool& pool, kernels::Gemm& gemm)
      : config_(config), batch_(batch), tokens_(tokens) {
    const std::string text = fmt::format(
        R"({{"train_micro_batch_size_per_gpu": {}, "gradient_clipping": 1.0,
             "bf16": {{"enabled": {}}}, "zero_optimization": {{"stage": {}}},
             "optimizer": {{"type": "AdamW", "params": {{"lr": 0.001, "weight_decay": 0.1}}}}}})",
        batch, dtype == DType::kBF16, stage);
    engine_ = Take(Engine::Create(Take(ParseConfig(text, comm.size())), comm, pool));
    model_ = Take(model::Decoder::Create(config_, {}, pool, gemm, engine_->memory()));
    Check(model_->RegisterParams(engine_->store(), [&](const model::Param& param) {
      return model::RandomValues(pool, 1, param);
    }));
    Check(engine_->Seal());
    for (int64_t i = 0; i < batch * tokens; ++i) {
      ids_.push_back(static_cast<int32_t>((i * 7919 + i / 13) % config_.vocab));
      targets_.push_back(static_cast<int32_t>((i * 104729 + 5) % config_.vocab));
    }
  }

  void Step() {
    const model::TokenBatch tokens{batch_, tokens_, ids_.data(), targets_.data()};
    const double count = static_cast<double>(ids_.size());
    Take(model_->ForwardBackward(tokens, static_cast<float>(1.0 / count)));
    Take(engine_->Step());
  }
  double flops() const {
    return config_.TrainFlopsPerToken(tokens_) * static_cast<double>(ids_.size());
  }

 private:
  const model::DecoderConfig config_;
  const int64_t batch_, tokens_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<model::Decoder> model_;
  std::vector<int32_t> ids_, targets_;
};

void ShareOfPeak(const std::string& name, const model::DecoderConfig& config, int64_t batch,
                 int64_t tokens, DType dtype, int pairs, double goal, kernels::Gemm& gemm) {
  TaskPool pool(UsableCores());
  const auto comm = comm::CreateSelf();
  Trainer trainer(config, dtype, 0, batch, tokens, *comm, pool, gemm);
  PeakProduct peak(pool, gemm, dtype);
  std::vector<double> shares, rates, peaks;
  for (int pair = 0; pair < pairs + 2; ++pair) {
    const double rate = trainer.flops() / Seconds([&] { trainer.Step(); });
    const double best = peak.Rate();
    if (pair < 2) continue;  // caches, pages, code
    shares.push_back(rate / best);
    rates.push_back(rate);
    peaks.push_back(best);
  }
  std::printf("%s: %.0f GFLOP/s, products %.0f, %.1f ms a step\n", name.c_str(),
              Median(rates) / 1e9, Median(peaks) / 1e9, trainer.flops() / Median(rates) * 1e3);
  Report(name, Median(shares), "matrix product peak", goal);
}

// The same tokens by four ranks with everything sharded, and by one rank with nothing.
void FourRanks(DType dtype, kernels::Gemm& gemm) {
  constexpr int kRanks = 4;
  TaskPool pool(UsableCores()), shared(TaskPool::SizeFor(UsableCores(), kRanks));
  const auto self = comm::CreateSelf();
  Trainer alone(kSmall, dtype, 0, kBatch, kSmall.context, *self, pool, gemm);
  const auto comms = Take(comm::CreateThreads(kRanks, {}));
  std::unique_ptr<Trainer> trainers[kRanks];
  const auto on_all = [&](const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) threads.emplace_back(body, rank);
    for (std::thread& thread : threads) thread.join();
  };
  on_all([&](int rank) {
    trainers[rank] = std::make_unique<Trainer>(kSmall, dtype, 3, kBatch / kRanks, kSmall.context,
                                               *comms[rank], shared, gemm);
  });
  const double ratio = MedianRatio([&] { on_all([&](int rank) { trainers[rank]->Step(); }); },
                                   [&] { alone.Step(); });
  Report("train_step/fp32_4_ranks_stage_3", ratio, "one rank, the same tokens", 1 / 1.08);
}

}  // namespace
}  // namespace ds::bench

int main() {
  using namespace ds;
  const auto gemm = bench::BestGemm();
  for (const auto& [dtype, goal, small_goal] :
       {std::tuple{DType::kF32, 0.8, 0.5}, {DType::kBF16, 0.65, 0.35}}) {
    const std::string name = std::string("train_step/") + DTypeName(dtype);
    bench::ShareOfPeak(name, bench::kSmall, bench::kBatch, bench::kSmall.context, dtype, 11,
                       small_goal, *gemm);
    bench::ShareOfPeak(name + "_gpt2_b4_t64", bench::kGpt2, 4, 64, dtype, 9, goal, *gemm);
    bench::ShareOfPeak(name + "_gpt2_b1_t1024", bench::kGpt2, 1, 1024, dtype, 7, goal, *gemm);
  }
  bench::FourRanks(DType::kF32, *gemm);
}
