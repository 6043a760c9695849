// Adapters that PEFT made and answered for: logits, loss, gradients, merged weights; and what is
// written again.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "infer/adapter_folder.h"
#include "infer/model_folder.h"
#include "model/decoder.h"
#include "support/golden.h"
#include "support/model_rig.h"
#include "support/temp_dir.h"

namespace ds {
namespace {

using checkpoint::SafetensorsReader;
using test::Batch;

class Adapters : public ::testing::Test {
 protected:
  void SetUp() override {
    facts_ = *ParseJson(*ReadFile(folder_ + "/facts.json"), "facts.json");
    Load(folder_, store_, model_);
  }

  void Load(const std::string& folder, test::LocalParamStore& store,
            std::unique_ptr<model::Decoder>& model) {
    auto adapters = infer::AdapterFolder::Open(folder);
    ASSERT_TRUE(adapters.ok()) << adapters.status().message();
    const std::string& base = adapters->config().base;
    auto hf = infer::ReadModelConfig(base);
    ASSERT_TRUE(hf.ok()) << hf.status().message();
    model::DecoderOptions options{.lora = adapters->config()};
    auto created = model::Decoder::Create(hf->config, options, pool_, *gemm_, account_);
    ASSERT_TRUE(created.ok()) << created.status().message();
    model = std::move(created).Take();
    ASSERT_TRUE(adapters->CheckNames(*model).ok());
    const Status status = infer::LoadModel(base, *model, store, *adapters);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  Batch Ids() const {
    const Json& ids = facts_["ids"];
    Batch batch{std::ssize(ids), std::ssize(ids[0]), {}, {}};
    for (const Json& row : ids) {
      for (size_t t = 0; t < row.size(); ++t) {
        batch.ids.push_back(row[t].get<int32_t>());
        batch.targets.push_back(t + 1 < row.size() ? row[t + 1].get<int32_t>() : -1);
      }
    }
    return batch;
  }

  std::vector<float> Expected(const std::string& name) const {
    const auto* tensor = expected_->Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    std::vector<float> values(static_cast<size_t>(tensor->numel()));
    EXPECT_TRUE(ReadAsFloat(*tensor, 0, values).ok());
    return values;
  }

  Status Refusal(const std::string& key, const Json& value) const {
    Json json = *ParseJson(*ReadFile(folder_ + "/adapter_config.json"), "it");
    json[key] = value;
    return model::ParseLoraConfig(json.dump(), "adapter_config.json").status();
  }

  const std::string folder_ = test::GoldenPath("hf/lora");
  mutable Result<SafetensorsReader> expected_ =
      SafetensorsReader::Open(folder_ + "/expected.safetensors");
  TaskPool pool_{2};
  std::unique_ptr<kernels::Gemm> gemm_ = kernels::CreateSimdGemm();
  device::MemoryAccount account_;
  test::LocalParamStore store_{DType::kF32};
  std::unique_ptr<model::Decoder> model_;
  Json facts_;
};

TEST_F(Adapters, LogitsAndLoss) {
  const Batch batch = Ids();
  const std::vector<float> want = Expected("logits");
  std::vector<float> got(want.size());
  ASSERT_TRUE(model_->Logits(batch.view(), 0, got.data()).ok());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
  const auto rows = static_cast<double>(batch.batch * (batch.tokens - 1));
  EXPECT_NEAR(*model_->ForwardLoss(batch.view()) / rows, facts_["loss"].get<double>(), 1e-4);
}

TEST_F(Adapters, OnlyTheyHaveGradients) {
  const Batch batch = Ids();
  const auto scale = 1.0f / static_cast<float>(batch.batch * (batch.tokens - 1));
  ASSERT_TRUE(model_->ForwardBackward(batch.view(), scale).ok());
  int adapters = 0;
  for (ParamId id = 0; id < store_.size(); ++id) {
    const ParamSpec& spec = store_.spec(id);
    EXPECT_EQ(spec.trainable, model::IsLora(spec.name)) << spec.name;
    if (!spec.trainable) continue;
    ++adapters;
    const std::vector<float> want = Expected("grad." + model::PeftName(spec.name));
    const auto got = store_.grad(id);
    float largest = 0;
    for (const float g : want) largest = std::max(largest, std::fabs(g));
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-4f * largest) << spec.name << " " << i;
    }
  }
  EXPECT_EQ(adapters, 16);
}

TEST_F(Adapters, MergedWeightsAreThoseOfPeft) {
  const test::TempDir out;
  ASSERT_TRUE(infer::SaveModel(out.path(), *model_, store_, true).ok());
  auto merged = SafetensorsReader::Open(out.path() + "/model.safetensors");
  ASSERT_TRUE(merged.ok()) << merged.status().message();
  int compared = 0;
  for (const auto& tensor : expected_->tensors()) {
    if (!tensor.name.starts_with("merged.")) continue;
    const std::vector<float> want = Expected(tensor.name);
    const auto* view = merged->Find(tensor.name.substr(7));
    ASSERT_NE(view, nullptr) << tensor.name;
    std::vector<float> got(want.size());
    ASSERT_TRUE(ReadAsFloat(*view, 0, got).ok());
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-6) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, 8);
  for (const auto& tensor : merged->tensors()) EXPECT_FALSE(model::IsLora(tensor.name));
}

TEST_F(Adapters, WhatIsWrittenIsReadAgain) {
  const test::TempDir out;
  ASSERT_TRUE(infer::SaveAdapter(out.path(), *model_, store_, true).ok());
  EXPECT_FALSE(std::ifstream(out.path() + "/model.safetensors").good());
  auto was = SafetensorsReader::Open(folder_ + "/adapter_model.safetensors");
  auto is = SafetensorsReader::Open(out.path() + "/adapter_model.safetensors");
  ASSERT_TRUE(is.ok()) << is.status().message();
  ASSERT_EQ(is->tensors().size(), was->tensors().size());
  for (const auto& tensor : was->tensors()) {
    const auto* view = is->Find(tensor.name);
    ASSERT_NE(view, nullptr) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(view->bytes, tensor.bytes)) << tensor.name;
  }
  test::LocalParamStore again(DType::kF32);
  std::unique_ptr<model::Decoder> model;
  Load(out.path(), again, model);
}

TEST_F(Adapters, WhatIsNotSupportedIsRefusedByName) {
  for (const auto& [key, value] : {std::pair("use_dora", Json(true)),
                                   {"peft_type", "LOHA"},
                                   {"bias", "all"},
                                   {"r", 0},
                                   {"lora_alpha", -1},
                                   {"rank_pattern", {{"q_proj", 8}}},
                                   {"modules_to_save", {"lm_head"}},
                                   {"target_modules", ".*q_proj"}}) {
    const Status status = Refusal(key, value);
    EXPECT_FALSE(status.ok()) << key;
    EXPECT_NE(status.message().find(key == std::string("r") ? "rank" : key), std::string::npos)
        << status.message();
  }
  EXPECT_TRUE(Refusal("target_modules", "all-linear").ok());
}

TEST_F(Adapters, TargetsThatAreNoProducts) {
  auto hf = infer::ReadModelConfig(test::GoldenPath("hf/llama"));
  for (const char* target : {"c_attn", "lm_head", "proj", ""}) {
    const model::DecoderOptions options{.lora = model::LoraConfig{.targets = {"q_proj", target}}};
    const Status status =
        model::Decoder::Create(hf->config, options, pool_, *gemm_, account_).status();
    EXPECT_EQ(status.code(), Code::kConfig) << target;
    EXPECT_NE(status.message().find("gate_proj"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace ds
