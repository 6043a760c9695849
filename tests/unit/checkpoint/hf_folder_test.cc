#include "checkpoint/hf_folder.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace ds::checkpoint {
namespace {

using test::TempDir;

HfModel Sample(DType dtype) {
  return {.config_json = "{\"model_type\": \"gpt2\"}",
          .dtype = dtype,
          .tensors = {{"transformer.a", "", {2, 2}}, {"b", "", {3}}}};
}

Status WriteSample(const std::string& folder, DType dtype, bool write = true,
                   int* calls = nullptr) {
  return WriteHfFolder(folder, Sample(dtype), write, [&](size_t index, ByteSink sink) -> Status {
    if (calls != nullptr) ++*calls;
    const float values[4] = {1.5f, 2, 3, static_cast<float>(index)};
    const size_t n = index == 0 ? 4 : 3;
    if (dtype == DType::kF32) return sink(std::as_bytes(std::span(values, n)));
    BF16 narrow[4];
    for (size_t i = 0; i < n; ++i) narrow[i] = BF16(values[i]);
    return sink(std::as_bytes(std::span(narrow, n)));
  });
}

TEST(HfFolder, RoundTrip) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    TempDir dir;
    const std::string folder = dir.file("deep/model");
    const Status status = WriteSample(folder, dtype);
    ASSERT_TRUE(status.ok()) << status.message();
    auto hf = HfFolder::Open(folder);
    ASSERT_TRUE(hf.ok()) << hf.status().message();
    EXPECT_EQ(hf->config_json(), "{\"model_type\": \"gpt2\"}");
    EXPECT_EQ(hf->file().Find("b")->dtype, dtype == DType::kF32 ? "F32" : "BF16");
    float a[4];
    ASSERT_TRUE(hf->Read("transformer.a", std::vector<int64_t>{2, 2}, a).ok());
    EXPECT_EQ(a[0], 1.5f);
    EXPECT_EQ(hf->Unread(), std::vector<std::string>{"b"});
  }
}

TEST(HfFolder, NamesWhatIsWrong) {
  TempDir dir;
  ASSERT_TRUE(WriteSample(dir.path(), DType::kF32).ok());
  auto hf = HfFolder::Open(dir.path());
  ASSERT_TRUE(hf.ok());
  float values[4];
  const std::string file = dir.path() + "/model.safetensors";
  EXPECT_EQ(hf->Read("c", std::vector<int64_t>{4}, values).message(), file + ": has no tensor c");
  EXPECT_EQ(hf->Read("transformer.a", std::vector<int64_t>{4}, values).message(),
            file + ": tensor transformer.a has shape [2, 2], expected [4]");
  // Older files leave the prefix out.
  EXPECT_TRUE(hf->Read("transformer.b", std::vector<int64_t>{3}, std::span(values).first(3)).ok());
  EXPECT_EQ(HfFolder::Open(dir.file("none")).status().code(), Code::kNotFound);
  dir.Write("model.safetensors", "short");
  EXPECT_EQ(HfFolder::Open(dir.path()).status().code(), Code::kCorruptData);
}

TEST(HfFolder, EveryRankVisitsEveryTensor) {
  TempDir dir;
  int calls = 0;
  EXPECT_TRUE(WriteSample(dir.file("m"), DType::kF32, /*write=*/false, &calls).ok());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(dir.entries(), 0u);
  // A disk that fails: the calls are made all the same, then the error comes.
  dir.Write("m", "a file where the folder should be");
  EXPECT_EQ(WriteSample(dir.file("m"), DType::kF32, true, &calls).code(), Code::kIo);
  EXPECT_EQ(calls, 4);
}

TEST(HfFolder, AFailedSourceLeavesTheOldModel) {
  TempDir dir;
  ASSERT_TRUE(WriteSample(dir.path(), DType::kF32).ok());
  const Status status =
      WriteHfFolder(dir.path(), Sample(DType::kBF16), true, [](size_t index, ByteSink sink) {
        const BF16 values[4] = {};
        return index == 0 ? sink(std::as_bytes(std::span(values)))
                          : Status(Code::kRankLost, "rank 3 is gone");
      });
  EXPECT_EQ(status.code(), Code::kRankLost);
  EXPECT_EQ(dir.entries(), 2u);
  EXPECT_EQ(HfFolder::Open(dir.path())->file().Find("b")->dtype, "F32");
}

}  // namespace
}  // namespace ds::checkpoint
