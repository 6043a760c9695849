// The models that transformers made, trained and answered for: loss, logits, gradients, padded
// batches, greedy text, of every family and every way to stretch a rotation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "infer/generate.h"
#include "infer/model_folder.h"
#include "support/golden.h"
#include "support/model_rig.h"
#include "support/sanitizer.h"

namespace ds {
namespace {

using checkpoint::SafetensorsReader;
using test::Batch;

// The folder, and whether by the reference operations.
class GoldenModel : public ::testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  void SetUp() override {
    const std::string folder = test::GoldenPath(std::string("hf/") + std::get<0>(GetParam()));
    facts_ = *ParseJson(*ReadFile(folder + "/facts.json"), "facts.json");
    auto expected = SafetensorsReader::Open(folder + "/expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    expected_.emplace(std::move(expected).Take());
    auto parsed = infer::ReadModelConfig(folder);
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    auto older = model::ParseHfConfig(*ReadFile(folder + "/config_v4.json"));
    ASSERT_TRUE(older.ok()) << older.status().message();
    EXPECT_EQ(ToHfConfig(parsed->config, DType::kF32), ToHfConfig(older->config, DType::kF32));
    const bool reference = std::get<1>(GetParam());
    const model::DecoderOptions options{.ops = reference ? &kernels::RefOps(DType::kF32) : nullptr};
    auto created = model::Decoder::Create(parsed->config, options, pool_, *gemm_, account_);
    ASSERT_TRUE(created.ok()) << created.status().message();
    model_ = std::move(created).Take();
    const Status status = infer::LoadModel(folder, *model_, store_);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(model_->config().parameters(), CountOf(store_));
  }

  static int64_t CountOf(const test::LocalParamStore& store) {
    int64_t count = 0;
    for (ParamId id = 0; id < store.size(); ++id) count += store.spec(id).numel();
    return count;
  }

  bool Has(const std::string& name) const { return expected_->Find(name) != nullptr; }
  std::vector<float> Expected(const std::string& name) {
    const auto* tensor = expected_->Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    std::vector<float> values(static_cast<size_t>(tensor->numel()));
    EXPECT_TRUE(ReadAsFloat(*tensor, 0, values).ok());
    return values;
  }

  // Targets are the labels (by default the ids) one place on; -100 and the last count for nothing.
  static Batch MakeBatch(const Json& ids, const Json& labels) {
    Batch batch{std::ssize(ids), std::ssize(ids[0]), {}, {}};
    for (size_t b = 0; b < ids.size(); ++b) {
      for (size_t t = 0; t < ids[b].size(); ++t) {
        batch.ids.push_back(ids[b][t].get<int32_t>());
        const int32_t label = t + 1 < ids[b].size() ? labels[b][t + 1].get<int32_t>() : -1;
        batch.targets.push_back(std::max(label, -1));
      }
    }
    return batch;
  }
  static int64_t Counted(const Batch& batch) {
    return std::ssize(batch.targets) - std::count(batch.targets.begin(), batch.targets.end(), -1);
  }
  double MeanLoss(const Batch& batch) {
    return *model_->ForwardLoss(batch.view()) / static_cast<double>(Counted(batch));
  }

  TaskPool pool_{2};
  std::unique_ptr<kernels::Gemm> gemm_ = kernels::CreateSimdGemm();
  device::MemoryAccount account_;
  test::LocalParamStore store_{DType::kF32};
  std::unique_ptr<model::Decoder> model_;
  Json facts_;
  std::optional<SafetensorsReader> expected_;
};

TEST_P(GoldenModel, Loss) {
  for (const auto& [loss, ids, labels] :
       {std::tuple("loss", "ids", "ids"), std::tuple("long_loss", "long_ids", "long_ids"),
        std::tuple("masked_loss", "ids", "masked_labels")}) {
    const double want = facts_[loss].get<double>();
    EXPECT_NEAR(MeanLoss(MakeBatch(facts_[ids], facts_[labels])), want, 1e-5 * want) << loss;
  }
}

TEST_P(GoldenModel, Logits) {
  const Batch batch = MakeBatch(facts_["ids"], facts_["ids"]);
  const std::vector<float> want = Expected("logits");
  std::vector<float> got(want.size());
  ASSERT_TRUE(model_->Logits(batch.view(), 0, got.data()).ok());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4) << i;

  const Batch longer = MakeBatch(facts_["long_ids"], facts_["long_ids"]);
  const std::vector<float> last = Expected("long.logits_last4");
  std::vector<float> tail(last.size());
  ASSERT_TRUE(model_->Logits(longer.view(), longer.tokens - 4, tail.data()).ok());
  for (size_t i = 0; i < last.size(); ++i) EXPECT_NEAR(tail[i], last[i], 1e-4) << i;
}

// Padding is hidden: on the right by what is causal, on the left by the first key.
TEST_P(GoldenModel, PaddedBatches) {
  for (const char* side : {"pad_right", "pad_left"}) {
    const Json& ids = facts_[side]["ids"];
    const Json& mask = facts_[side]["attention_mask"];
    const Batch batch = MakeBatch(ids, ids);
    std::vector<int32_t> first_keys;
    for (const Json& row : mask) {
      const auto ones = std::find(row.begin(), row.end(), 1) - row.begin();
      for (int64_t t = 0; t < batch.tokens; ++t) {
        first_keys.push_back(static_cast<int32_t>(std::min<int64_t>(t, ones)));
      }
    }
    const model::TokenBatch view{.batch = batch.batch,
                                 .tokens = batch.tokens,
                                 .ids = batch.ids.data(),
                                 .first_keys = first_keys.data()};
    const std::vector<float> want = Expected(std::string(side) + ".logits");
    std::vector<float> got(want.size());
    const Status status = model_->Logits(view, 0, got.data());
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < want.size(); ++i) {
      const size_t token = i / static_cast<size_t>(model_->vocab());
      const auto tokens = static_cast<size_t>(batch.tokens);
      if (mask[token / tokens][token % tokens] == 0) continue;
      ASSERT_NEAR(got[i], want[i], 1e-4) << side << " " << i;
    }
  }
}

TEST_P(GoldenModel, Gradients) {
  const Batch batch = MakeBatch(facts_["ids"], facts_["ids"]);
  const float scale = 1.0f / static_cast<float>(Counted(batch));
  ASSERT_TRUE(model_->ForwardBackward(batch.view(), scale).ok());
  const double largest = facts_["against_double"]["grad_max_abs"].get<double>();
  double squares = 0;
  for (ParamId id = 0; id < store_.size(); ++id) {
    const std::string& name = store_.spec(id).name;
    const auto got = store_.grad(id);
    double sum_abs = 0;
    for (const float g : got) {
      squares += double{g} * g;
      sum_abs += std::fabs(double{g});
    }
    if (Has("grad." + name)) {
      const auto want = Expected("grad." + name);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_NEAR(got[i], want[i], 1e-4 * largest) << name << " " << i;
      }
    } else {
      const double want = facts_["grad_summary"][name]["sum_abs"];
      EXPECT_NEAR(sum_abs, want, 1e-4 * want) << name;
    }
  }
  const double norm = facts_["grad_norm"].get<double>();
  EXPECT_NEAR(std::sqrt(squares), norm, 1e-5 * norm);
}

TEST_P(GoldenModel, GreedyText) {
  const auto prompt = facts_["prompt"].get<std::vector<int32_t>>();
  const auto want = facts_["greedy"].get<std::vector<int32_t>>();
  std::vector<int32_t> got;
  const infer::GenerateOptions options{.tokens = std::ssize(want), .sampling = {.temperature = 0}};
  const Status status = infer::Generate(*model_, prompt, options, [&](int32_t token) {
    got.push_back(token);
    return true;
  });
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(got, want);
}

// torch's AdamW in double, over the store's weights; the gradient is multiplied by `factor`.
void AdamWStep(test::LocalParamStore& store, const Json& train, int step, double factor,
               std::vector<std::vector<double>>& m, std::vector<std::vector<double>>& v) {
  const double lr = train["lr"], b1 = train["betas"][0], b2 = train["betas"][1];
  const double eps = train["eps"], decay = train["weight_decay"];
  m.resize(static_cast<size_t>(store.size()));
  v.resize(m.size());
  for (ParamId id = 0; id < store.size(); ++id) {
    auto& weights = store.weights(id);
    auto &mi = m[static_cast<size_t>(id)], &vi = v[static_cast<size_t>(id)];
    mi.resize(weights.size());
    vi.resize(weights.size());
    const auto grad = store.grad(id);
    for (size_t i = 0; i < weights.size(); ++i) {
      const double g = grad[i] * factor;
      mi[i] = b1 * mi[i] + (1 - b1) * g;
      vi[i] = b2 * vi[i] + (1 - b2) * g * g;
      const double kept = weights[i] * (1 - (store.spec(id).weight_decay ? lr * decay : 0));
      const double root = std::sqrt(vi[i] / (1 - std::pow(b2, step + 1))) + eps;
      weights[i] = static_cast<float>(kept - lr / (1 - std::pow(b1, step + 1)) * mi[i] / root);
    }
  }
}

// Twenty steps on the corpus: the loss before and the gradient norm of each.
TEST_P(GoldenModel, TrainingCurve) {
  const Json& train = facts_["train"];
  const std::string corpus = *ReadFile(test::GoldenPath("hf/corpus.txt"));
  std::vector<std::vector<double>> m, v;
  for (int step = 0; step < 20; ++step) {
    Json ids = Json::array();
    for (const int64_t offset : train["offsets"][static_cast<size_t>(step)]) {
      ids.push_back(Json::array());
      for (int64_t t = 0; t < 24; ++t) {
        ids.back().push_back(static_cast<uint8_t>(corpus[static_cast<size_t>(offset + t)]));
      }
    }
    const Batch batch = MakeBatch(ids, ids);
    const auto tokens = static_cast<double>(Counted(batch));
    store_.EndMicroBatch(/*clear=*/true);
    auto loss = model_->ForwardBackward(batch.view(), static_cast<float>(1 / tokens));
    ASSERT_TRUE(loss.ok()) << loss.status().message();
    double squares = 0;
    for (ParamId id = 0; id < store_.size(); ++id) {
      for (const float g : store_.grad(id)) squares += double{g} * g;
    }
    const double norm = std::sqrt(squares);
    const Json& want = facts_["curve"][static_cast<size_t>(step)];
    EXPECT_NEAR(*loss / tokens, want["loss"].get<double>(), 1e-5 * *loss / tokens) << step;
    EXPECT_NEAR(norm, want["grad_norm"].get<double>(), 2e-5 * norm) << step;
    AdamWStep(store_, train, step, std::min(1.0, 1 / (norm + 1e-6)), m, v);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Folders, GoldenModel,
    ::testing::Combine(
        ::testing::Values("gpt2", "llama", "llama_bf16", "llama_gqa", "llama_rope_dynamic",
                          "llama_rope_linear", "llama_rope_llama3", "llama_rope_yarn",
                          "llama_tied_bias", "mistral", "qwen2", "qwen3"),
        ::testing::ValuesIn(test::kUnderAsan ? std::vector{false} : std::vector{false, true})),
    [](const auto& info) {
      return std::string(std::get<0>(info.param)) + (std::get<1>(info.param) ? "Reference" : "");
    });

TEST(GoldenFolders, FamiliesThatAreNotOursAreRefusedByName) {
  for (const char* name : {"mixtral", "qwen2_moe", "gpt_neox"}) {
    const auto parsed = infer::ReadModelConfig(test::GoldenPath(std::string("hf/") + name));
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(parsed.status().code(), Code::kUnsupported);
    EXPECT_NE(parsed.status().message().find(fmt::format("model_type is \"{}\"", name)),
              std::string::npos)
        << parsed.status().message();
  }
}

}  // namespace
}  // namespace ds
