#include "infer/model_folder.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "support/golden.h"
#include "support/model_rig.h"
#include "support/temp_dir.h"

namespace ds::infer {
namespace {

using test::Batch;
using test::LocalParamStore;
using test::ModelRig;
using test::TempDir;

// A model over `store` with the weights of the folder, and its loss of the batch.
Result<double> LossOfFolder(const std::string& folder, DType dtype, const Batch& batch) {
  ModelRig rig({});  // lends its pool, gemm and account
  LocalParamStore store(dtype);
  DS_ASSIGN(const model::HfConfig hf, ReadModelConfig(folder));
  const model::DecoderOptions options{.ops = &kernels::RefOps(dtype)};
  DS_ASSIGN(auto model,
            model::Decoder::Create(hf.config, options, rig.pool, *rig.gemm, rig.account));
  DS_TRY(LoadModel(folder, *model, store));
  return model->ForwardLoss(batch.view());
}

TEST(ModelFolder, SavedAndLoadedIsTheSameModel) {
  const Batch batch = test::RandomBatch(2, 7, 11, 5);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    TempDir dir;
    ModelRig rig({.dtype = dtype});
    const double loss = rig.Loss(batch);
    rig.store.most_held = 0;
    Status status = SaveModel(dir.path(), *rig.model, rig.store, /*write=*/true,
                              [](FolderChange&) { return Status(); });
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(rig.store.held(), 0);
    EXPECT_EQ(rig.store.most_held, 12);  // one block
    auto loaded = LossOfFolder(dir.path(), dtype, batch);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(*loaded, loss);
    EXPECT_TRUE(
        SaveModel(dir.file("none"), *rig.model, rig.store, /*write=*/false, [](FolderChange&) {
          return Status();
        }).ok());
    EXPECT_EQ(dir.entries(), 2u);
  }
}

// What ranks compare of weights, and a resume of those below adapters.
TEST(ModelFolder, WeightsThatDifferInTheMiddleAreOthers) {
  const TempDir dir;
  const auto digest = [&](std::vector<float> values) {
    const std::vector<checkpoint::TensorInfo> infos = {{"w", "F32", {std::ssize(values)}}};
    auto writer = checkpoint::SafetensorsWriter::Create(dir.file("w.safetensors"), infos);
    EXPECT_TRUE(writer->Write(std::as_bytes(std::span(values))).ok());
    EXPECT_TRUE(writer->Finish().ok());
    auto reader = checkpoint::SafetensorsReader::Open(dir.file("w.safetensors"));
    return DigestOf(*reader->Find("w"));
  };
  for (const size_t size : {size_t{3}, size_t{60000}, size_t{1000000}}) {
    const std::vector<float> zeros(size);
    EXPECT_EQ(digest(zeros), digest(zeros));
    for (const size_t from : {size_t{0}, size / 3, size - 1}) {
      std::vector<float> values = zeros;
      std::fill(values.begin() + static_cast<int64_t>(from),
                values.begin() + static_cast<int64_t>(std::min(size, from + 1 + size / 8)), 1.0f);
      EXPECT_NE(digest(values), digest(zeros)) << from << " of " << size;
    }
  }
}

// The folder of the golden model with tensors renamed and added.
std::string Rewrite(const TempDir& dir, const std::string& extra, bool repeat_embedding,
                    bool prefix) {
  const std::string from = test::GoldenPath("hf/gpt2");
  dir.Write("config.json", *ReadFile(from + "/config.json"));
  auto reader = checkpoint::SafetensorsReader::Open(from + "/model.safetensors");
  std::vector<checkpoint::TensorInfo> infos;
  std::vector<std::span<const std::byte>> data;
  for (const auto& view : reader->tensors()) {
    infos.push_back(view);
    data.push_back(view.bytes);
    if (!prefix) infos.back().name = view.name.substr(std::string("transformer.").size());
  }
  const auto* other =
      reader->Find(repeat_embedding ? "transformer.wte.weight" : "transformer.wpe.weight");
  infos.push_back(*other);
  infos.back().name = extra;
  data.push_back(other->bytes);
  auto writer = checkpoint::SafetensorsWriter::Create(dir.file("model.safetensors"), infos);
  for (const auto& bytes : data) EXPECT_TRUE(writer->Write(bytes).ok());
  EXPECT_TRUE(writer->Finish().ok());
  return dir.path();
}

TEST(ModelFolder, KnowsWhatFilesCarryBesideTheWeights) {
  const Batch batch = test::RandomBatch(1, 7, 300, 5);
  auto want = LossOfFolder(test::GoldenPath("hf/gpt2"), DType::kF32, batch);
  ASSERT_TRUE(want.ok()) << want.status().message();
  for (const bool prefix : {true, false}) {
    TempDir a, b, c, d;
    EXPECT_EQ(*LossOfFolder(Rewrite(a, "lm_head.weight", true, prefix), DType::kF32, batch), *want);
    EXPECT_EQ(*LossOfFolder(Rewrite(b, "h.0.attn.bias", false, prefix), DType::kF32, batch), *want);
    EXPECT_EQ(LossOfFolder(Rewrite(c, "lm_head.weight", false, prefix), DType::kF32, batch)
                  .status()
                  .message(),
              c.path() +
                  ": tensor lm_head.weight is not a part of this model: "
                  "tie_word_embeddings is true, and it is not the embedding");
    EXPECT_FALSE(LossOfFolder(Rewrite(d, "adapter", true, prefix), DType::kF32, batch).ok());
    for (const char* buffer : {"rotary_emb.inv_freq", "h.1.rotary_emb.cos_cached"}) {
      TempDir e;
      EXPECT_EQ(*LossOfFolder(Rewrite(e, buffer, false, prefix), DType::kF32, batch), *want);
    }
    TempDir f;
    EXPECT_FALSE(
        LossOfFolder(Rewrite(f, "h.0.my_rotary_emb.inv_freq", false, prefix), DType::kF32, batch)
            .ok());
  }
}

// Of the embedding and the head that are one, a file may have either, or both in two types.
TEST(ModelFolder, ATiedTableUnderEitherName) {
  const Batch batch = test::RandomBatch(1, 7, 300, 5);
  const std::string from = test::GoldenPath("hf/gpt2");
  auto want = LossOfFolder(from, DType::kF32, batch);
  ASSERT_TRUE(want.ok()) << want.status().message();
  auto reader = checkpoint::SafetensorsReader::Open(from + "/model.safetensors");
  const auto* table = reader->Find("transformer.wte.weight");
  std::vector<float> values(static_cast<size_t>(table->numel()));
  ASSERT_TRUE(ReadAsFloat(*table, 0, values).ok());
  for (float& value : values) value = static_cast<float>(BF16(value));
  std::vector<BF16> narrow(values.begin(), values.end());
  for (const auto& [both, rounded] : {std::pair(false, false), {true, true}, {true, false}}) {
    TempDir dir;
    dir.Write("config.json", *ReadFile(from + "/config.json"));
    std::vector<checkpoint::TensorInfo> infos;
    std::vector<std::span<const std::byte>> data;
    const auto add = [&](const checkpoint::TensorInfo& info, std::span<const std::byte> bytes) {
      infos.push_back(info);
      data.push_back(bytes);
    };
    for (const auto& view : reader->tensors()) {
      if (view.name != table->name) {
        add(view, view.bytes);
      } else if (both) {
        add(view, rounded ? std::as_bytes(std::span(values)) : view.bytes);
      }
    }
    const checkpoint::TensorInfo head = {"lm_head.weight", both ? "BF16" : "F32", table->shape};
    add(head, both ? std::as_bytes(std::span(narrow)) : table->bytes);
    auto writer = checkpoint::SafetensorsWriter::Create(dir.file("model.safetensors"), infos);
    for (const auto& bytes : data) ASSERT_TRUE(writer->Write(bytes).ok());
    ASSERT_TRUE(writer->Finish().ok());
    auto loss = LossOfFolder(dir.path(), DType::kF32, batch);
    EXPECT_EQ(loss.ok(), !both || rounded) << loss.status().message();
    if (!both) {
      EXPECT_EQ(*loss, *want);
    }
  }
}

// Rows that a file has not are the mean of those it has, so the logit of a new token is the mean of
// the others', of a tied head and of one by itself.
TEST(ModelFolder, ALargerVocabularyHasMeanRows) {
  for (const char* name : {"gpt2", "llama"}) {
    const std::string folder = test::GoldenPath(std::string("hf/") + name);
    auto hf = ReadModelConfig(folder);
    ASSERT_TRUE(hf.ok()) << hf.status().message();
    const int64_t vocab = hf->config.vocab, grown = vocab + 3;
    const Batch batch = test::RandomBatch(1, 9, vocab, 5);
    ModelRig rig({});  // lends its pool, gemm and account
    std::vector<float> logits[2];
    for (const int64_t size : {vocab, grown}) {
      hf->config.vocab = size;
      LocalParamStore store(DType::kF32);
      auto model = model::Decoder::Create(hf->config, {}, rig.pool, *rig.gemm, rig.account);
      ASSERT_TRUE(model.ok()) << model.status().message();
      const Status status = LoadModel(folder, **model, store);
      ASSERT_TRUE(status.ok()) << status.message();
      std::vector<float>& got = logits[size == grown];
      got.resize(static_cast<size_t>(batch.tokens * size));
      ASSERT_TRUE((*model)->Logits(batch.view(), 0, got.data()).ok());
    }
    for (int64_t t = 0; t < batch.tokens; ++t) {
      const std::span<const float> old(logits[0].data() + t * vocab, static_cast<size_t>(vocab));
      const std::span<const float> now(logits[1].data() + t * grown, static_cast<size_t>(grown));
      double sum = 0;
      for (size_t i = 0; i < old.size(); ++i) {
        ASSERT_NEAR(now[i], old[i], 1e-5) << name << " " << t << " " << i;
        sum += static_cast<double>(old[i]);
      }
      for (size_t i = old.size(); i < now.size(); ++i) {
        ASSERT_NEAR(now[i], sum / static_cast<double>(vocab), 1e-5) << name << " " << t << " " << i;
      }
    }
    hf->config.vocab = vocab - 1;
    auto smaller = model::Decoder::Create(hf->config, {}, rig.pool, *rig.gemm, rig.account);
    LocalParamStore store(DType::kF32);
    EXPECT_EQ(LoadModel(folder, **smaller, store).code(), Code::kInvalidArgument) << name;
  }
}

}  // namespace
}  // namespace ds::infer
