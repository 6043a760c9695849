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
    Status status = SaveModel(dir.path(), *rig.model, rig.store, /*write=*/true);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(rig.store.held(), 0);
    EXPECT_EQ(rig.store.most_held, 12);  // one block
    auto loaded = LossOfFolder(dir.path(), dtype, batch);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(*loaded, loss);
    EXPECT_TRUE(SaveModel(dir.file("none"), *rig.model, rig.store, /*write=*/false).ok());
    EXPECT_EQ(dir.entries(), 2u);
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
              c.path() + ": tensor lm_head.weight is not a part of this model");
    EXPECT_FALSE(LossOfFolder(Rewrite(d, "adapter", true, prefix), DType::kF32, batch).ok());
  }
}

}  // namespace
}  // namespace ds::infer
