// Adapters that PEFT made and answered for: logits, loss, gradients, merged weights; and what is
// written again.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "infer/adapter_folder.h"
#include "infer/merger.h"
#include "infer/model_folder.h"
#include "model/decoder.h"
#include "model/peft_config.h"
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

  // The weights that PEFT merged, but for rounding by as much of each.
  void ExpectMerged(const std::string& folder, float rounding) const {
    auto merged = SafetensorsReader::Open(folder + "/model.safetensors");
    ASSERT_TRUE(merged.ok()) << merged.status().message();
    int compared = 0;
    for (const auto& tensor : expected_->tensors()) {
      if (!tensor.name.starts_with("merged.")) continue;
      const std::vector<float> want = Expected(tensor.name);
      const auto* view = merged->Find(tensor.name.substr(7));
      ASSERT_NE(view, nullptr) << tensor.name;
      std::vector<float> got(want.size());
      ASSERT_TRUE(ReadAsFloat(*view, 0, got).ok());
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], 1e-6f + rounding * std::fabs(want[i])) << tensor.name;
      }
      ++compared;
    }
    EXPECT_EQ(compared, 8);
    for (const auto& tensor : merged->tensors()) EXPECT_FALSE(model::IsLora(tensor.name));
  }

  Status Refusal(const std::string& key, const Json& value) const {
    Json json = *ParseJson(*ReadFile(folder_ + "/adapter_config.json"), "it");
    json[key] = value;
    DS_ASSIGN(const auto peft, model::PeftConfig::Parse(json.dump(), "adapter_config.json"));
    const int64_t rank = facts_["r"];
    return peft
        .Resolve(
            {{"model.layers.0.self_attn.q_proj", rank}, {"model.layers.1.self_attn.v_proj", rank}})
        .status();
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
  ASSERT_TRUE(infer::SaveModel(out.path(), *model_, store_, true, [](FolderChange&) {
                return Status();
              }).ok());
  ExpectMerged(out.path(), 0);
}

TEST_F(Adapters, WhatIsWrittenIsReadAgain) {
  const test::TempDir out;
  ASSERT_TRUE(infer::SaveAdapter(out.path(), *model_, store_, true, [](FolderChange&) {
                return Status();
              }).ok());
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

// Whatever way says which products they are of: the weights that are there are those of PEFT.
TEST_F(Adapters, ChosenOneByOne) {
  const Batch batch = Ids();
  const std::vector<float> want = Expected("logits");
  const Json told = *ParseJson(*ReadFile(folder_ + "/adapter_config.json"), "it");
  for (const Json& change :
       {Json{{"target_modules", ".*[qv]_proj|x"}}, Json{{"target_modules", nullptr}},
        Json{{"rank_pattern", {{"^no", 8}}}}, Json{{"layers_to_transform", {0, 1}}},
        Json{{"exclude_modules", "nothing"}}, Json{{"exclude_modules", {"nothing"}}},
        Json{{"alpha_pattern", {{"none.of_it", 8}}}}}) {
    const test::TempDir dir, out;
    std::filesystem::copy(folder_, dir.path(),
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
    Json json = told;
    json.update(change);
    json["base_model_name_or_path"] = test::GoldenPath("hf/llama");
    dir.Write("adapter_config.json", json.dump());
    test::LocalParamStore store(DType::kF32), again(DType::kF32);
    std::unique_ptr<model::Decoder> model, saved;
    Load(dir.path(), store, model);
    ASSERT_FALSE(HasFatalFailure()) << change;
    EXPECT_FALSE(model->lora()->chosen.empty());
    std::vector<float> got(want.size());
    ASSERT_TRUE(model->Logits(batch.view(), 0, got.data()).ok());
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << change << i;
    // By their names, as PEFT reads them too.
    ASSERT_TRUE(infer::SaveAdapter(out.path(), *model, store, true, [](FolderChange&) {
                  return Status();
                }).ok());
    Load(out.path(), again, saved);
    ASSERT_FALSE(HasFatalFailure()) << change;
    EXPECT_EQ(saved->params().size(), model->params().size());
  }
}

TEST_F(Adapters, EachOfItsOwnSize) {
  Json json = *ParseJson(*ReadFile(folder_ + "/adapter_config.json"), "it");
  json["alpha_pattern"] = {{"layers.0.self_attn.q_proj", 3}, {"v_proj", 5}};
  json["target_modules"] = {"q_proj", "k_proj", "v_proj"};
  json["rank_pattern"] = {{"q_proj", 4}, {"k_proj", 9}, {"v_proj", 16}};
  json["use_rslora"] = true;
  const auto read = [&] { return model::PeftConfig::Parse(json.dump(), "it"); };
  const std::string layer = "model.layers.0.self_attn.";
  const model::LoraRanks ranks = {
      {layer + "q_proj", 4}, {layer + "k_proj", 9}, {layer + "v_proj", 16}};
  auto lora = read()->Resolve(ranks);
  ASSERT_TRUE(lora.ok()) << lora.status().message();
  const double alpha = json["lora_alpha"];
  EXPECT_EQ(lora->ScaleOf(layer + "q_proj"), 1.5f);
  EXPECT_EQ(lora->ScaleOf(layer + "k_proj"), static_cast<float>(alpha / 3));
  EXPECT_EQ(lora->ScaleOf(layer + "v_proj"), 1.25f);
  EXPECT_FALSE(lora->Names("model.layers.1.self_attn.q_proj"));
  // What is written says the same.
  auto again = model::PeftConfig::Parse(ToPeftConfig(*lora, model::WeightLayout::kOutIn), "it")
                   ->Resolve(ranks);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->chosen, lora->chosen);
  json["alpha_pattern"] = {{"self.attn.v.proj", 5}};  // dots are any letter
  EXPECT_EQ(read()->Resolve(ranks)->ScaleOf(layer + "v_proj"), 1.25f);
  EXPECT_EQ(read()->Resolve(ranks)->ScaleOf(layer + "k_proj"), static_cast<float>(alpha / 3));
  json["alpha_pattern"]["......"] = 7;
  EXPECT_NE(read()->Resolve(ranks).status().message().find("alpha_pattern says both"),
            std::string::npos);
  json["alpha_pattern"] = {{"layers.0.self_attn.q_proj", 3}, {"v_proj", 5}};
  json["alpha_pattern"]["q_proj"] = 7;
  EXPECT_NE(read()->Resolve(ranks).status().message().find("alpha_pattern says both"),
            std::string::npos);
  json["alpha_pattern"] = {{"q_proj|k_proj", 7}};
  EXPECT_NE(read().status().message().find("\"q_proj|k_proj\""), std::string::npos);
  json["alpha_pattern"] = {{"q_proj", "7"}};
  EXPECT_NE(read().status().message().find("alpha_pattern: q_proj"), std::string::npos);
  json["alpha_pattern"] = {{"q_proj", -7}};
  EXPECT_FALSE(read()->Resolve(ranks).ok());
  EXPECT_FALSE(read()->Resolve({}).ok());
  // Weights that PEFT would not read.
  json["alpha_pattern"] = {{"q_proj", 7}};
  json["target_modules"] = {"q_proj", "k_proj"};
  EXPECT_EQ(read()->Resolve(ranks).status().message(),
            "it: there are weights of an adapter for " + layer +
                "v_proj beside it, but target_modules does not name it");
  json["target_modules"] = {layer + "q_proj", layer + "k_proj", layer + "v_proj"};
  json["layers_to_transform"] = 1;  // counts for ends of names
  EXPECT_TRUE(read()->Resolve(ranks).ok()) << read()->Resolve(ranks).status().message();
  json["layers_to_transform"] = nullptr;
  json["target_modules"] = {"q_proj", "k_proj", "v_proj"};
  json["rank_pattern"] = nullptr;
  EXPECT_NE(
      read()->Resolve(ranks).status().message().find("k_proj beside it, but of rank 9, and r"),
      std::string::npos);
}

// Read, added and rounded once: in fp32 what PEFT gives, in bf16 the nearest to it.
TEST_F(Adapters, MergedFromTheirFolders) {
  auto place = infer::FindModel(folder_);
  ASSERT_TRUE(place.ok()) << place.status().message();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const test::TempDir out;
    int called = 0;
    const Status status =
        infer::SaveMerged(out.path(), *place, *model_, dtype, pool_, [&](FolderChange&) {
          ++called;
          return Status();
        });
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(called, 1);
    ExpectMerged(out.path(), dtype == DType::kF32 ? 0 : 0x1p-8f);
  }
}

TEST_F(Adapters, WhatIsNotSupportedIsRefusedByName) {
  for (const auto& [key, value] : {std::pair("use_dora", Json(true)),
                                   {"peft_type", "LOHA"},
                                   {"bias", "all"},
                                   {"r", 0},
                                   {"lora_alpha", -1},
                                   {"modules_to_save", {"lm_head", "score"}},
                                   {"modules_to_save", {"norm"}},
                                   {"init_lora_weights", "pissa_niter_4"},
                                   {"init_lora_weights", "olora"},
                                   {"init_lora_weights", "OLoRA"},
                                   {"init_lora_weights", "of next year"},
                                   {"init_lora_weights", {"gaussian"}},
                                   {"kasa_config", Json::object()},
                                   {"layers_to_transform", false},
                                   {"layers_to_transform", {1, -1}},
                                   {"layers_to_transform", {5}},
                                   {"exclude_modules", {"q_proj"}},
                                   {"target_modules", {"q_proj", "lm_head"}},
                                   {"target_modules", {"all-linear"}},
                                   {"alora_invocation_tokens", {1, 2}},
                                   {"use_bdlora", {{"nblocks", 2}}},
                                   {"target_modules", Json::array()}}) {
    const Status status = Refusal(key, value);
    EXPECT_FALSE(status.ok()) << key;
    EXPECT_NE(status.message().find(key == std::string("r") ? "rank" : key), std::string::npos)
        << status.message();
  }
  for (const auto& [key, value] : {std::pair("target_modules", Json("All-Linear")),
                                   {"init_lora_weights", "gaussian"},
                                   {"init_lora_weights", false},
                                   {"alora_invocation_tokens", nullptr},
                                   {"modules_to_save", Json::array()},
                                   {"modules_to_save", {"model.embed_tokens", "lm_head"}},
                                   {"use_rslora", nullptr},
                                   {"use_bdlora", false}}) {
    EXPECT_TRUE(Refusal(key, value).ok()) << key << Refusal(key, value).message();
  }
}

// Names that are nearly some, and tables that are none.
TEST_F(Adapters, HostileTensors) {
  for (const auto& [name, shape, part] :
       {std::tuple<std::string, std::vector<int64_t>, const char*>{
            "base_model.model.lora_A.weight", {2, 2}, "not a part of these adapters"},
        {"base_model.model..lora_A.weight", {2, 2}, "not a part of these adapters"},
        {"base_model.model.model.embed_tokens.weight", {300}, "has shape [300]"},
        {"base_model.model.model.embed_tokens.weight", {299, 32}, "expected [300 or more, 32]"},
        {"base_model.model.lm_head.weight", {int64_t{1} << 40, 0}, "lm_head.weight has shape"}}) {
    const test::TempDir dir;
    auto reader = SafetensorsReader::Open(folder_ + "/adapter_model.safetensors");
    std::vector<checkpoint::TensorInfo> infos(reader->tensors().begin(), reader->tensors().end());
    infos.push_back({name, "F32", shape});
    auto writer =
        checkpoint::SafetensorsWriter::Create(dir.file("adapter_model.safetensors"), infos);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (const auto& view : reader->tensors()) ASSERT_TRUE(writer->Write(view.bytes).ok());
    size_t size = sizeof(float);
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    ASSERT_TRUE(writer->Write(std::vector<std::byte>(size)).ok());
    ASSERT_TRUE(writer->Finish().ok());
    dir.Write("adapter_config.json", *ReadFile(folder_ + "/adapter_config.json"));
    const auto read = [&]() -> Status {
      DS_ASSIGN(const infer::ModelPlace place,
                infer::FindModel(dir.path(), test::GoldenPath("hf/llama")));
      DS_ASSIGN(const model::HfConfig hf, infer::ReadPlaceConfig(place));
      DS_ASSIGN(const auto model,
                model::Decoder::Create(hf.config, {.lora = place.lora()}, pool_, *gemm_, account_));
      test::LocalParamStore store(DType::kF32);
      return infer::LoadModelAt(place, *model, store);
    };
    const Status status = read();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(dir.path()), std::string::npos) << status.message();
  }
}

// Beside a model whose embedding and head are one, as PEFT reads them: a table that modules_to_save
// names is a copy of its own, another is the one.
TEST_F(Adapters, TablesBesideATiedModel) {
  const test::TempDir dir;
  Json json = *ParseJson(*ReadFile(folder_ + "/adapter_config.json"), "it");
  const auto tied = [&](std::vector<std::pair<const char*, float>> tables) -> Result<bool> {
    std::vector<checkpoint::TensorInfo> infos;
    for (const auto& [name, value] : tables) {
      infos.push_back({fmt::format("base_model.model.{}.weight", name), "F32", {2, 2}});
    }
    DS_ASSIGN(auto writer,
              checkpoint::SafetensorsWriter::Create(dir.file("adapter_model.safetensors"), infos));
    for (const auto& [name, value] : tables) {
      const std::vector<float> values(4, value);
      DS_TRY(writer.Write(std::as_bytes(std::span(values))));
    }
    DS_TRY(writer.Finish());
    dir.Write("adapter_config.json", json.dump());
    DS_ASSIGN(const auto adapters,
              infer::AdapterFolder::Open(dir.path(), test::GoldenPath("hf/llama")));
    model::DecoderConfig base{.family = &model::LlamaFamily(),
                              .vocab = 2,
                              .context = 4,
                              .layers = 1,
                              .heads = 1,
                              .width = 2,
                              .inner = 1};
    base.tied = true;
    DS_TRY(adapters.Adjust(base));
    return base.tied;
  };
  const char *table = "model.embed_tokens", *head = "lm_head";
  ASSERT_TRUE(tied({{table, 1}}).ok()) << tied({{table, 1}}).status().message();
  EXPECT_TRUE(*tied({{table, 1}}));
  EXPECT_TRUE(*tied({{table, 1}, {head, 1}}));
  EXPECT_NE(
      tied({{table, 1}, {head, 2}}).status().message().find("one for each, with other values"),
      std::string::npos);
  EXPECT_NE(tied({{head, 1}}).status().message().find("one for the head"), std::string::npos);
  json["modules_to_save"] = {"embed_tokens", "lm_head"};
  EXPECT_TRUE(*tied({{table, 1}, {head, 1}}));
  EXPECT_FALSE(*tied({{table, 1}, {head, 2}}));
  json["ensure_weight_tying"] = true;
  EXPECT_FALSE(tied({{table, 1}, {head, 2}}).ok());
  json["ensure_weight_tying"] = false;
  json["modules_to_save"] = {"embed_tokens"};
  EXPECT_FALSE(*tied({{table, 1}}));
}

// A list for many families: those that this model has.
TEST_F(Adapters, TargetsBesideThoseThatAreThere) {
  auto hf = infer::ReadModelConfig(test::GoldenPath("hf/llama"));
  model::LoraConfig lora{.targets = {"q_proj", "query_key_value"}, .universal = true};
  const auto made = [&] {
    return model::Decoder::Create(hf->config, {.lora = lora}, pool_, *gemm_, account_).status();
  };
  EXPECT_TRUE(made().ok()) << made().message();
  lora.targets = {"query_key_value", "dense"};
  EXPECT_NE(made().message().find("dense"), std::string::npos) << made().message();
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
