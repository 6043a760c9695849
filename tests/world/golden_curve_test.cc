// Fine-tuning of a folder that transformers made, or of adapters that PEFT made beside one, over
// ranks and stages: the curve that torch took.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "engine/assembly.h"
#include "engine/engine.h"
#include "infer/adapter_folder.h"
#include "infer/model_folder.h"
#include "model/decoder.h"
#include "support/golden.h"

namespace ds {
namespace {

constexpr int64_t kTokens = 24, kRows = 4;

struct Curve {
  std::vector<double> losses, norms;
  bool operator==(const Curve&) const = default;
};

struct Tuning {
  const char* name;
  int world, stage;
  bool recompute = false;
};

// This rank's rows of a step of the corpus, a byte a token; the last of a row has no target.
void FillRows(const std::string& corpus, const Json& offsets, int64_t first, int64_t count,
              std::vector<int32_t>& ids, std::vector<int32_t>& targets) {
  ids.clear();
  targets.clear();
  for (int64_t row = first; row < first + count; ++row) {
    const auto at = offsets[static_cast<size_t>(row)].get<size_t>();
    for (int64_t t = 0; t < kTokens; ++t) {
      const auto byte = [&](int64_t i) {
        return static_cast<int32_t>(static_cast<uint8_t>(corpus[at + static_cast<size_t>(i)]));
      };
      ids.push_back(byte(t));
      targets.push_back(t + 1 < kTokens ? byte(t + 1) : -1);
    }
  }
}

Status Tune(const Tuning& run, comm::Communicator& comm, TaskPool& pool, const Json& facts,
            Curve& curve) {
  const std::string text = fmt::format(
      R"({{"train_batch_size": 4, "gradient_clipping": 1.0,
          "optimizer": {{"type": "AdamW", "params": {{"lr": 0.001, "betas": [0.9, 0.95],
                         "eps": 1e-8, "weight_decay": 0.1}}}},
          "zero_optimization": {{"stage": {}}}}})",
      run.stage);
  const std::string folder = test::GoldenPath(std::string("hf/") + run.name);
  DS_ASSIGN(const infer::ModelPlace place, infer::FindModel(folder));
  DS_ASSIGN(const std::string corpus, ReadFile(test::GoldenPath("hf/corpus.txt")));
  DS_ASSIGN(const EngineConfig config, ParseConfig(text, comm.size()));
  const auto gemm = CreateGemm();
  DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
  DS_ASSIGN(const model::HfConfig hf, infer::ReadModelConfig(place.base));
  const model::DecoderOptions options{.recompute = run.recompute, .lora = place.lora()};
  DS_ASSIGN(const auto model,
            model::Decoder::Create(hf.config, options, pool, *gemm, engine->memory()));
  DS_TRY(infer::LoadModelAt(place, *model, engine->store()));
  DS_TRY(engine->Seal());
  const int64_t mine = kRows / comm.size();
  const auto here = static_cast<float>(mine * (kTokens - 1));
  std::vector<int32_t> ids, targets;
  for (const Json& offsets : facts["train"]["offsets"]) {
    FillRows(corpus, offsets, comm.rank() * mine, mine, ids, targets);
    const model::TokenBatch batch = {mine, kTokens, ids.data(), targets.data()};
    DS_ASSIGN(double loss, model->ForwardBackward(batch, 1.0f / here));
    DS_ASSIGN(const StepInfo info, engine->Step());
    DS_TRY(comm.AllReduce("loss", {&loss, 1}));
    if (comm.rank() != 0) continue;
    curve.losses.push_back(loss / static_cast<double>(kRows * (kTokens - 1)));
    curve.norms.push_back(info.grad_norm);
  }
  return {};
}

class GoldenCurve : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenCurve, IsTheSameOverRanksAndStages) {
  const std::string path = test::GoldenPath(std::string("hf/") + GetParam() + "/facts.json");
  const Json facts = *ParseJson(*ReadFile(path), path);
  for (const int world : {1, 2, 4}) {
    Curve first;
    for (int stage = 0; stage <= 3; ++stage) {
      for (const bool recompute : {false, true}) {
        SCOPED_TRACE(fmt::format("world {} stage {} recompute {}", world, stage, recompute));
        Curve curve;
        TaskPool pool(1 + stage % 2);
        const Tuning run = {GetParam(), world, stage, recompute};
        const Status status = comm::RunThreads(
            world, {.timeout_seconds = 60},
            [&](comm::Communicator& comm) { return Tune(run, comm, pool, facts, curve); });
        ASSERT_TRUE(status.ok()) << status.message();
        if (stage == 0 && !recompute) first = curve;
        EXPECT_EQ(curve, first);
      }
    }
    for (size_t step = 0; step < facts["curve"].size(); ++step) {
      const Json& want = facts["curve"][step];
      EXPECT_NEAR(first.losses[step], want["loss"].get<double>(), 1e-5 * first.losses[step])
          << step;
      EXPECT_NEAR(first.norms[step], want["grad_norm"].get<double>(), 3e-5 * first.norms[step])
          << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, GoldenCurve,
                         ::testing::Values("gpt2", "llama", "mistral", "qwen2", "qwen3", "lora"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace ds
