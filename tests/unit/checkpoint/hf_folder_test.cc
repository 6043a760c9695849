#include "checkpoint/hf_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/failpoint.h"
#include "support/temp_dir.h"

namespace ds::checkpoint {
namespace {

using test::TempDir;

HfModel Sample(DType dtype) {
  return {.config_json = "{\"model_type\": \"gpt2\"}",
          .dtype = dtype,
          .tensors = {{"transformer.a", "", {2, 2}}, {"b", "", {3}}}};
}

const auto kNothing = [](FolderChange&) { return Status(); };

Status WriteSample(const std::string& folder, DType dtype, bool write = true,
                   int* calls = nullptr) {
  return WriteHfFolder(
      folder, Sample(dtype), write,
      [&](size_t index, ByteSink sink) -> Status {
        if (calls != nullptr) ++*calls;
        const float values[4] = {1.5f, 2, 3, static_cast<float>(index)};
        const size_t n = index == 0 ? 4 : 3;
        if (dtype == DType::kF32) return sink(std::as_bytes(std::span(values, n)));
        BF16 narrow[4];
        for (size_t i = 0; i < n; ++i) narrow[i] = BF16(values[i]);
        return sink(std::as_bytes(std::span(narrow, n)));
      },
      kNothing);
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
    EXPECT_EQ(hf->Find("b")->dtype, dtype == DType::kF32 ? "F32" : "BF16");
    float a[4];
    auto taken = hf->Take("transformer.a", std::vector<int64_t>{2, 2});
    ASSERT_TRUE(taken.ok()) << taken.status().message();
    ASSERT_TRUE(ReadAsFloat(*taken, 0, a).ok());
    EXPECT_EQ(a[0], 1.5f);
    EXPECT_EQ(hf->Untaken(), std::vector<std::string>{"b"});
  }
}

// Two shards of a tensor each, and the index that a test makes of them.
void WriteShards(const std::string& folder, const std::string& index) {
  for (const char* name : {"a", "b"}) {
    const TensorInfo info = {name, "F32", {1}};
    auto writer = SafetensorsWriter::Create(folder + "/" + name + ".safetensors", {&info, 1});
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    const float value = 2;
    ASSERT_TRUE(writer->Write(std::as_bytes(std::span(&value, 1))).ok());
    ASSERT_TRUE(writer->Finish().ok());
  }
  ASSERT_TRUE(WriteFileAtomic(folder + "/config.json", "{}").ok());
  ASSERT_TRUE(WriteFileAtomic(folder + "/model.safetensors.index.json", index).ok());
}

TEST(HfFolder, ReadsShardsThroughTheirIndex) {
  TempDir dir;
  WriteShards(dir.path(), R"({"metadata": {"total_size": 8},
      "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})");
  auto hf = HfFolder::Open(dir.path());
  ASSERT_TRUE(hf.ok()) << hf.status().message();
  float value = 0;
  auto taken = hf->Take("b", std::vector<int64_t>{1});
  ASSERT_TRUE(taken.ok()) << taken.status().message();
  ASSERT_TRUE(ReadAsFloat(*taken, 0, {&value, 1}).ok());
  EXPECT_EQ(value, 2.0f);
  EXPECT_EQ(hf->Untaken(), std::vector<std::string>{"a"});
}

TEST(HfFolder, AnIndexThatLiesIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"weight_map": {"a": "a.safetensors"}})", ""},  // b is in no file: as good as absent
      {R"({"weight_map": {"a": "c.safetensors"}})", "c.safetensors"},
      {R"({"weight_map": {"a": "b.safetensors"}})", "tensor a is not in b.safetensors"},
      {R"({"weight_map": {"a": "../a.safetensors"}})", "expected a file beside the index"},
      {R"({"weight_map": {"a": 3}})", "expected a file beside the index"},
      {R"({"weight_map": {"a": ".."}})", "expected a file beside the index"},
      {R"({"weight_map": {"a": "a.safetensors\u0000"}})", "expected a file beside the index"},
      {R"({"weight_map": []})", "weight_map is not an object"},
      {R"([1])", "weight_map is not an object"},
      {R"({"weight_map": {)", "model.safetensors.index.json"}};
  for (const auto& [index, message] : cases) {
    TempDir dir;
    WriteShards(dir.path(), index);
    const auto hf = HfFolder::Open(dir.path());
    if (*message == 0) {
      EXPECT_TRUE(hf.ok()) << hf.status().message();
      continue;
    }
    ASSERT_FALSE(hf.ok()) << index;
    EXPECT_NE(hf.status().message().find(message), std::string::npos) << hf.status().message();
  }
}

TEST(HfFolder, NamesWhatIsWrong) {
  TempDir dir;
  ASSERT_TRUE(WriteSample(dir.path(), DType::kF32).ok());
  auto hf = HfFolder::Open(dir.path());
  ASSERT_TRUE(hf.ok());
  const auto refusal = [&](const char* name, int64_t extent) {
    return hf->Take(name, std::vector<int64_t>{extent}).status().message();
  };
  const std::string file = dir.path() + "/model.safetensors";
  EXPECT_EQ(refusal("c", 4), file + ": has no tensor c");
  EXPECT_EQ(refusal("transformer.a", 4),
            file + ": tensor transformer.a has shape [2, 2], expected [4]");
  // Older files leave the prefix out.
  EXPECT_TRUE(hf->Take("transformer.b", std::vector<int64_t>{3}).ok());
  EXPECT_EQ(HfFolder::Open(dir.file("none")).status().code(), Code::kNotFound);
  dir.Write("model.safetensors", "short");
  EXPECT_EQ(HfFolder::Open(dir.path()).status().code(), Code::kCorruptData);
  std::filesystem::rename(file, dir.file("pytorch_model.bin"));
  const std::string pickle = HfFolder::Open(dir.path()).status().message();
  EXPECT_NE(pickle.find("pytorch_model.bin is not read"), std::string::npos) << pickle;
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
  const Status status = WriteHfFolder(
      dir.path(), Sample(DType::kBF16), true,
      [](size_t index, ByteSink sink) {
        const BF16 values[4] = {};
        return index == 0 ? sink(std::as_bytes(std::span(values)))
                          : Status(Code::kRankLost, "rank 3 is gone");
      },
      kNothing);
  EXPECT_EQ(status.code(), Code::kRankLost);
  EXPECT_EQ(dir.entries(), 2u);
  EXPECT_EQ(HfFolder::Open(dir.path())->Find("b")->dtype, "F32");
}

// A failure with what comes beside the model, or to sync any of it, is no loss.
TEST(HfFolder, AFailureBesideItLeavesTheOldModel) {
  TempDir dir;
  ASSERT_TRUE(WriteSample(dir.path(), DType::kF32).ok());
  ASSERT_TRUE(WriteFileAtomic(dir.file("old.json"), "old").ok());
  const auto source = [](size_t index, ByteSink sink) {
    const BF16 values[4] = {};
    return sink(std::as_bytes(std::span(values, index == 0 ? 4 : 3)));
  };
  HfModel model = Sample(DType::kBF16);
  model.config_json = "{\"model_type\": \"llama\"}";
  const std::string config = *ReadFile(dir.file("config.json"));
  const std::string weights = *ReadFile(dir.file("model.safetensors"));
  for (const int fails : {0, 1, 2, 3, 4}) {
    SCOPED_TRACE(fails);
    const std::string plan = fails > 0 ? fmt::format("file.commit={}:fail:101", fails) : "";
    ASSERT_TRUE(failpoint::Arm(plan).ok());
    const Status status = WriteHfFolder(dir.path(), model, true, source, [&](FolderChange& change) {
      change.Remove(dir.file("old.json"));
      DS_TRY(change.Add(dir.file("new.json"), "new"));
      return fails == 0 ? Status(Code::kIo, "no") : Status();
    });
    ASSERT_TRUE(failpoint::Arm("").ok());
    if (fails == 4) {  // there are no more
      ASSERT_TRUE(status.ok()) << status.message();
      break;
    }
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(*ReadFile(dir.file("config.json")), config);
    EXPECT_EQ(*ReadFile(dir.file("model.safetensors")), weights);
    EXPECT_EQ(dir.entries(), 3u);
  }
  EXPECT_EQ(*ReadFile(dir.file("config.json")), model.config_json);
  EXPECT_NE(*ReadFile(dir.file("model.safetensors")), weights);
  EXPECT_EQ(*ReadFile(dir.file("new.json")), "new");
  EXPECT_EQ(dir.entries(), 3u);
}

// Who is killed between the two files leaves no config of one model beside the weights of another.
TEST(HfFolder, AnotherConfigGoesBeforeItsWeights) {
  const auto source = [](size_t index, ByteSink sink) {
    const BF16 values[4] = {};
    return sink(std::as_bytes(std::span(values, index == 0 ? 4 : 3)));
  };
  for (const char* config : {"{\"model_type\": \"gpt2\"}", "{\"model_type\": \"llama\"}"}) {
    SCOPED_TRACE(config);
    TempDir dir;
    ASSERT_TRUE(WriteSample(dir.path(), DType::kF32).ok());
    const std::string there = *ReadFile(dir.file("config.json"));
    HfModel model = Sample(DType::kBF16);
    model.config_json = config;
    const Status stopped = WriteHfFolder(dir.path(), model, true, source, [&](FolderChange&) {
      std::filesystem::remove(dir.file("model.safetensors"));
      std::filesystem::create_directory(dir.file("model.safetensors"));  // no file can replace it
      return Status();
    });
    EXPECT_EQ(stopped.code(), Code::kIo) << stopped.message();
    EXPECT_EQ(std::filesystem::exists(dir.file("config.json")), there == config);
  }
}

}  // namespace
}  // namespace ds::checkpoint
