// Generation by a GPT-2 of 124 million parameters in bf16, one sequence, random weights. A token of
// decoding reads every weight once: how much of the memory's speed that reaches, against a loop
// that only reads as much on the same threads. And what share of the matrix product's rate the
// prompt gets.
#include <atomic>
#include <optional>

#include "infer/weight_store.h"
#include "model/decoder.h"
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

const model::DecoderConfig kModel = {
    .vocab = 50257, .context = 1024, .layers = 12, .heads = 12, .width = 768};
constexpr DType kType = DType::kBF16;
constexpr int64_t kPrompt = 512;
constexpr int kTokens = 8;  // of a pair

// The sum of whole vectors: nothing but loads and one addition each.
__attribute__((target_clones("avx512f", "avx2", "default"))) uint64_t SumOf(const uint64_t* x,
                                                                            int64_t n) {
  uint64_t sums[64] = {};
  for (int64_t i = 0; i + 64 <= n; i += 64) {
    for (int64_t j = 0; j < 64; ++j) sums[j] += x[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t each : sums) sum += each;
  return sum;
}

// Reads `bytes` of memory, a mebibyte a tile.
class Reader {
 public:
  Reader(TaskPool& pool, int64_t bytes) : pool_(pool), tiles_(bytes / kTileBytes) {
    array_.emplace(pool, kType, tiles_ * kTileBytes / 2);
  }
  void Run() {
    pool_.Run(tiles_, [&](int64_t tile, int) {
      constexpr int64_t words = kTileBytes / int64_t{sizeof(uint64_t)};
      seen_ += SumOf(static_cast<const uint64_t*>(array_->data()) + tile * words, words);
    });
  }
  double bytes() const { return static_cast<double>(tiles_ * kTileBytes); }

 private:
  static constexpr int64_t kTileBytes = 1 << 20;
  TaskPool& pool_;
  const int64_t tiles_;
  std::optional<Array> array_;
  std::atomic<uint64_t> seen_ = 0;  // so that the loop is not left out
};

class Generator {
 public:
  Generator(TaskPool& pool, kernels::Gemm& gemm)
      : store_(kType, pool, account_), logits_(static_cast<size_t>(kModel.vocab)) {
    model_ = Take(model::Decoder::Create(kModel, {}, pool, gemm, account_));
    Check(model_->RegisterParams(
        store_, [&](const model::Param& param) { return model::RandomValues(pool, 1, param); }));
    for (int64_t i = 0; i < kPrompt; ++i) {
      prompt_.push_back(static_cast<int32_t>(i * 7919 % kModel.vocab));
    }
  }

  void Prefill(int64_t tokens) {
    Check(model_->Prefill(std::span(prompt_).first(static_cast<size_t>(tokens)), logits_.data()));
  }
  void Decode() {
    for (int i = 0; i < kTokens; ++i) Check(model_->Decode(prompt_[i], logits_.data()));
  }
  // Of a token: all weights but the positions, of which it reads one row.
  double bytes() const {
    const int64_t read = kModel.parameters() - (kModel.context - 1) * kModel.width;
    return static_cast<double>(read) * static_cast<double>(DTypeBytes(kType));
  }
  // Two a weight in a product and a token; attention to all keys before; one row of logits.
  double prefill_flops() const {
    const double layers = kModel.layers, width = kModel.width, tokens = kPrompt;
    return layers * (24 * width * width * tokens + 2 * width * tokens * tokens) +
           2 * width * static_cast<double>(kModel.vocab);
  }

 private:
  device::MemoryAccount account_;
  infer::WeightStore store_;
  std::unique_ptr<model::Decoder> model_;
  std::vector<int32_t> prompt_;
  std::vector<float> logits_;
};

void Decoding(Generator& generator, TaskPool& pool) {
  Reader reader(pool, static_cast<int64_t>(generator.bytes()));
  std::vector<double> shares, rates, reads;
  for (int pair = 0; pair < 17; ++pair) {
    generator.Prefill(64);
    generator.Decode();  // the pool awake, the clock up
    double rate = 0, read = 0;
    const auto decode = [&] {
      rate = kTokens * generator.bytes() / Seconds([&] { generator.Decode(); });
    };
    if (pair % 2 == 0) decode();
    read = kTokens * reader.bytes() / Seconds([&] {
             for (int i = 0; i < kTokens; ++i) reader.Run();
           });
    if (pair % 2 != 0) decode();
    if (pair < 2) continue;  // caches, pages, code
    shares.push_back(rate / read);
    rates.push_back(rate);
    reads.push_back(read);
  }
  std::printf("generate/decode_bf16: %.1f GB/s of weights, %.1f read alone, %.2f ms a token\n",
              Median(rates) / 1e9, Median(reads) / 1e9, generator.bytes() / Median(rates) * 1e3);
  Report("generate/decode_bf16", Median(shares), "a loop that only reads", 0.85);
}

void Prompt(Generator& generator, TaskPool& pool, kernels::Gemm& gemm) {
  PeakProduct peak(pool, gemm, kType);
  std::vector<double> shares, rates, peaks;
  for (int pair = 0; pair < 13; ++pair) {
    const double rate = generator.prefill_flops() / Seconds([&] { generator.Prefill(kPrompt); });
    const double best = peak.Rate();
    if (pair < 2) continue;
    shares.push_back(rate / best);
    rates.push_back(rate);
    peaks.push_back(best);
  }
  std::printf("generate/prefill_bf16: %.0f GFLOP/s, products %.0f, %.1f ms for %d tokens\n",
              Median(rates) / 1e9, Median(peaks) / 1e9,
              generator.prefill_flops() / Median(rates) * 1e3, static_cast<int>(kPrompt));
  Report("generate/prefill_bf16", Median(shares), "matrix product peak", 0.6);
}

}  // namespace
}  // namespace ds::bench

int main() {
  using namespace ds;
  const auto gemm = bench::BestGemm();
  TaskPool pool(UsableCores());
  bench::Generator generator(pool, *gemm);
  bench::Decoding(generator, pool);
  bench::Prompt(generator, pool, *gemm);
}
