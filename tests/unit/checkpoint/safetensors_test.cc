#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "support/golden.h"
#include "support/temp_dir.h"
#include "tensor/dtype.h"

namespace ds::checkpoint {
namespace {

using test::TempDir;

// A file of this header text and data.
std::string FileText(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof length);
  return text + header + std::string(data_bytes, '\1');
}

Result<SafetensorsReader> Parse(const std::string& text) {
  return SafetensorsReader::Parse(std::as_bytes(std::span(text)), "f");
}

std::string Fails(const std::string& header, size_t data_bytes) {
  const std::string text = FileText(header, data_bytes);
  auto parsed = Parse(text);
  if (parsed.ok()) return "ok";
  EXPECT_EQ(parsed.status().code(), Code::kCorruptData);
  return parsed.status().message();
}

std::string Entry(const char* name, const char* dtype, const char* shape, const char* offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape,
                     offsets);
}

TEST(Safetensors, WritesWhatItReads) {
  TempDir dir;
  const std::vector<TensorInfo> tensors = {{"b", "F32", {2, 3}},
                                           {"a.é\"", "BF16", {3}},
                                           {"s", "I64", {}},
                                           {"none", "F32", {0, 4}},
                                           {"u", "U8", {1}}};
  auto writer = SafetensorsWriter::Create(dir.file("m"), tensors);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  const float b[6] = {1, 2, 3, 4, 5, -0.5f};
  const BF16 a[3] = {BF16(1.5f), BF16(-2.0f), BF16(INFINITY)};
  const int64_t s = -7;
  const uint8_t u = 200;
  ASSERT_TRUE(writer->Write(std::as_bytes(std::span(b).first(2))).ok());
  ASSERT_TRUE(writer->Write(std::as_bytes(std::span(b).last(4))).ok());
  ASSERT_TRUE(writer->Write(std::as_bytes(std::span(a))).ok());
  ASSERT_TRUE(writer->Write(std::as_bytes(std::span(&s, 1))).ok());
  EXPECT_EQ(writer->Finish().code(), Code::kInvalidState);
  ASSERT_TRUE(writer->Write(std::as_bytes(std::span(&u, 1))).ok());
  EXPECT_EQ(writer->Write(std::as_bytes(std::span(&u, 1))).code(), Code::kInvalidState);
  EXPECT_EQ(dir.entries(), 1u);
  ASSERT_TRUE(writer->Finish().ok());

  auto reader = SafetensorsReader::Open(dir.file("m"));
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader->metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(reader->tensors().size(), 5u);
  for (const TensorInfo& info : tensors) {
    const TensorView* view = reader->Find(info.name);
    ASSERT_NE(view, nullptr) << info.name;
    EXPECT_EQ(view->dtype, info.dtype);
    EXPECT_EQ(view->shape, info.shape);
  }
  EXPECT_EQ(std::memcmp(reader->Find("b")->bytes.data(), b, sizeof b), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(reader->Find("b")->bytes.data()) % 8, 0u);
  float wide[3];
  ASSERT_TRUE(ReadAsFloat(*reader->Find("a.é\""), 0, wide).ok());
  EXPECT_EQ(wide[0], 1.5f);
  EXPECT_EQ(wide[2], INFINITY);
  EXPECT_EQ(ReadAsFloat(*reader->Find("s"), 0, std::span(wide).first(1)).message(),
            "s: has dtype I64, expected F32, BF16 or F16");
  EXPECT_EQ(ReadAsFloat(*reader->Find("b"), 4, wide).message(),
            "b: 6 elements in the file, 3 wanted from 4 on");
  EXPECT_FALSE(ReadAsFloat(*reader->Find("b"), -1, wide).ok());
  EXPECT_FALSE(ReadAsFloat(*reader->Find("b"), 7, {}).ok());
  EXPECT_EQ(reader->Find("x"), nullptr);
}

TEST(Safetensors, WidensHalf) {
  const uint16_t bits[] = {0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x83FF, 0x8000, 0x7C00, 0x3555};
  const float want[] = {1.0f,  -2.0f,    65504.0f,       0x1p-14f, 0x1p-24f, -1023 * 0x1p-24f,
                        -0.0f, INFINITY, 1365 * 0x1p-12f};
  TensorView view{{"h", "F16", {9}}, std::as_bytes(std::span(bits))};
  float got[9];
  ASSERT_TRUE(ReadAsFloat(view, 0, got).ok());
  for (int i = 0; i < 9; ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i])) << i;
  }
  ASSERT_TRUE(ReadAsFloat(view, 6, std::span(got).first(2)).ok());
  EXPECT_EQ(got[1], INFINITY);
}

TEST(Safetensors, ReadsTheRealLibrarysFile) {
  auto reader = SafetensorsReader::Open(test::GoldenPath("hf/gpt2/model.safetensors"));
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader->tensors().size(), 28u);
  EXPECT_EQ(reader->Find("transformer.wte.weight")->shape, (std::vector<int64_t>{300, 32}));
}

TEST(Safetensors, RefusesBrokenHeaders) {
  const std::string a = Entry("a", "F32", "[2]", "[0,8]");
  EXPECT_EQ(Fails("{" + a + "}", 8), "ok");
  EXPECT_EQ(Fails("{" + a + "}    ", 8), "ok");  // padding
  EXPECT_EQ(Fails("{}", 0), "ok");
  EXPECT_EQ(Fails("{" + a + "," + Entry("a", "F32", "[2]", "[8,16]") + "}", 16),
            "f: header: key a stands twice");
  EXPECT_EQ(Fails("{" + a + "}", 7), "f: tensor a: lies at [0, 8) of 7 bytes of data");
  EXPECT_EQ(Fails("{" + a + "}", 9), "f: the tensors end at byte 8 of the data, which has 9");
  EXPECT_EQ(Fails("{" + a + "," + Entry("b", "F32", "[1]", "[4,8]") + "}", 8),
            "f: tensor b begins at byte 4 of the data, expected 8");
  EXPECT_EQ(Fails("{" + a + "," + Entry("b", "F32", "[1]", "[12,16]") + "}", 16),
            "f: tensor b begins at byte 12 of the data, expected 8");
  EXPECT_EQ(Fails("{" + Entry("a", "Q4", "[2]", "[0,8]") + "}", 8),
            "f: tensor a: has dtype Q4, which is not known");
  EXPECT_EQ(Fails("{" + Entry("a", "F32", "[3]", "[0,8]") + "}", 8),
            "f: tensor a: F32 [3] has 12 bytes, its offsets span 8");
  for (const auto& [shape, offsets] :
       {std::pair("[-1]", "[0,8]"), std::pair("[2.0]", "[0,8]"), std::pair("[\"2\"]", "[0,8]"),
        std::pair("2", "[0,8]"), std::pair("[2]", "[8,0]"), std::pair("[2]", "[0]"),
        std::pair("[2]", "[0,18446744073709551615]"), std::pair("[2]", "[-8,0]"),
        std::pair("[4611686018427387904,4,0]", "[0,0]"),
        std::pair("[4611686018427387904,4611686018427387904]", "[0,8]"), std::pair("[2]", "{}")}) {
    EXPECT_NE(Fails("{" + Entry("a", "F32", shape, offsets) + "}", 8), "ok") << shape << offsets;
  }
  for (const char* header :
       {"", "[]", " {}", "{", "{\"a\":1}", "{\"a\":{}}", "{\"a\":[]}", "{\"__metadata__\":1}",
        "{\"__metadata__\":{\"x\":1}}", "{}}", "{/**/}", "{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}"}) {
    EXPECT_NE(Fails(header, 0), "ok") << header;
  }
}

TEST(Safetensors, RefusesBrokenLengths) {
  const std::string good = FileText("{" + Entry("a", "F32", "[2]", "[0,8]") + "}", 8);
  for (const uint64_t length : {uint64_t{0}, uint64_t{good.size() - 7}, uint64_t{100'000'001},
                                uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 7}) {
    std::string text = good;
    std::memcpy(text.data(), &length, sizeof length);
    EXPECT_FALSE(Parse(text).ok()) << length;
  }
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(Parse(good.substr(0, n)).ok()) << n;
  }
}

// Whatever happens to a file, it is read within its bounds or refused.
TEST(Safetensors, SurvivesMutations) {
  const std::string header = "{" + Entry("a", "F32", "[2,2]", "[0,16]") + "," +
                             Entry("b", "BF16", "[4]", "[16,24]") +
                             ",\"__metadata__\":{\"format\":\"pt\"}}";
  const std::string good = FileText(header, 24);
  ASSERT_TRUE(Parse(good).ok());
  int accepted = 0;
  const auto try_one = [&](const std::string& text) {
    auto parsed = Parse(text);
    if (!parsed.ok()) return;
    ++accepted;
    size_t total = 0;
    for (const TensorView& view : parsed->tensors()) {
      std::vector<float> values(static_cast<size_t>(view.numel()));
      (void)ReadAsFloat(view, 0, values);  // touches every byte
      total += view.bytes.size();
    }
    EXPECT_LE(total, text.size());
  };
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string text = good;
      text[at] = static_cast<char>(text[at] ^ (1 << bit));
      try_one(text);
    }
  }
  for (uint64_t trial = 0; trial < 20000; ++trial) {
    std::string text = good;
    for (uint64_t edit = 0; edit <= RandomBelow(1, trial, 0, 4); ++edit) {
      const size_t at = RandomBelow(2, trial, edit, text.size());
      const auto byte =
          static_cast<char>("0123456789[]{},:\"-eF \xff"[RandomBelow(3, trial, edit, 22)]);
      switch (RandomBelow(4, trial, edit, 3)) {
        case 0:
          text[at] = byte;
          break;
        case 1:
          text.insert(at, 1, byte);
          break;
        default:
          text.erase(at, 1 + RandomBelow(5, trial, edit, 8));
          break;
      }
      if (text.empty()) text = "x";
    }
    if (text.size() >= 8 && trial % 2 == 0) {  // a length that fits, so that the header is read
      const uint64_t length = std::min(header.size(), text.size() - 8);
      std::memcpy(text.data(), &length, sizeof length);
    }
    try_one(text);
  }
  EXPECT_GT(accepted, 24 * 8);  // at least those that only touch the data
}

TEST(Safetensors, WriterChecksWhatItIsGiven) {
  TempDir dir;
  const auto create = [&](std::vector<TensorInfo> tensors) {
    return SafetensorsWriter::Create(dir.file("m"), tensors).status().message();
  };
  EXPECT_EQ(create({{"a", "F32", {1}}, {"a", "F32", {1}}}),
            dir.file("m") + ": tensor a stands twice");
  EXPECT_NE(create({{"a", "F33", {1}}}), "");
  EXPECT_NE(create({{"a", "F32", {INT64_MAX, 2}}}), "");
  EXPECT_NE(create({{"a", "F32", {-1}}}), "");
  EXPECT_EQ(dir.entries(), 0u);
}

}  // namespace
}  // namespace ds::checkpoint
