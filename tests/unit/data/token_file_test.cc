#include "data/token_file.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace ds::data {
namespace {

using test::TempDir;

template <typename T>
std::string Raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string Llmc(int32_t magic, int32_t version, int32_t count) {
  std::vector<int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return Raw(header);
}

std::string Index(uint8_t dtype, const std::vector<int32_t>& lengths,
                  const std::vector<int64_t>& places, const std::vector<int64_t>& documents) {
  return std::string("MMIDIDX\0\0", 9) + Raw<uint64_t>({1}) + Raw<uint8_t>({dtype}) +
         Raw<uint64_t>({lengths.size(), documents.size()}) + Raw(lengths) + Raw(places) +
         Raw(documents);
}

std::string Refusal(const std::string& path) { return TokenFile::Open(path).status().message(); }

TEST(TokenFile, OfLlmc) {
  TempDir dir;
  const std::string ids = Raw<uint16_t>({5, 50256, 7});
  const std::string path = dir.Write("t.bin", Llmc(20240520, 1, 3) + ids);
  auto file = TokenFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->format(), std::string("llm.c"));
  ASSERT_EQ(file->tokens().size(), 3u);
  EXPECT_EQ(file->tokens()[1], 50256u);
  EXPECT_TRUE(CheckIds(file->tokens(), 50257, "t").ok());
  EXPECT_EQ(CheckIds(file->tokens(), 50256, "t").message(),
            "t: id 1 is 50256, the vocabulary has 50256");
  auto wide = TokenFile::Open(dir.Write("w.bin", Llmc(20240801, 7, 1) + Raw<uint32_t>({128000})));
  ASSERT_TRUE(wide.ok()) << wide.status().message();
  EXPECT_EQ(wide->tokens()[0], 128000u);
  EXPECT_EQ(Refusal(dir.Write("t.bin", Llmc(20240520, 2, 3) + ids)),
            path + ": llm.c version 2, expected 1");
  EXPECT_EQ(Refusal(dir.Write("t.bin", Llmc(20240520, 1, 3).substr(0, 800))),
            path + ": has 800 bytes, and the header of an llm.c file alone has 1024");
  for (const int32_t count : {2, 4, -1, INT32_MAX}) {
    EXPECT_EQ(
        Refusal(dir.Write("t.bin", Llmc(20240520, 1, count) + ids)),
        path + fmt::format(": the header says {} ids of 2 bytes, the file has 6 bytes of them",
                           count));
  }
}

TEST(TokenFile, OfNanoGpt) {
  TempDir dir;
  auto file = TokenFile::Open(dir.Write("t.bin", Raw<uint16_t>({1, 2, 3})));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->format(), std::string("nanoGPT"));
  EXPECT_EQ(file->tokens()[2], 3u);
  EXPECT_EQ(Refusal(dir.Write("t.bin", "abc")),
            dir.file("t.bin") + ": has 3 bytes, which is no whole number of uint16 ids");
  EXPECT_EQ(TokenFile::Open(dir.Write("e.bin", ""))->tokens().size(), 0u);
}

TEST(TokenFile, OfMegatron) {
  TempDir dir;
  dir.Write("t.bin", Raw<int32_t>({9, 8, 7, 100000}));
  dir.Write("t.idx", Index(4, {3, 1}, {0, 12}, {0, 1, 2}));
  for (const char* name : {"t.bin", "t.idx"}) {
    auto file = TokenFile::Open(dir.file(name));
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->format(), std::string("Megatron"));
    ASSERT_EQ(file->tokens().size(), 4u);
    EXPECT_EQ(file->tokens()[3], 100000u);
  }
  EXPECT_EQ(TokenFile::Open(dir.file("t"))->tokens().size(), 4u);  // of both
  EXPECT_EQ(TokenFile::Open(dir.Write("t.u16", Raw<uint16_t>({7})))->tokens()[0], 7u);
  dir.Write("s.bin", Raw<int32_t>({9, -8}));
  dir.Write("s.idx", Index(4, {2}, {0}, {0, 1}));
  EXPECT_EQ(CheckIds(TokenFile::Open(dir.file("s.bin"))->tokens(), 100, "t").message(),
            "t: id 1 is -8, the vocabulary has 100");
  EXPECT_EQ(Refusal(dir.Write("lone.idx", Index(8, {}, {}, {}))),
            dir.file("lone.bin") + ": cannot open: No such file or directory");
}

TEST(MegatronIndex, RefusesWhatIsWrong) {
  const auto refusal = [](const std::string& index, size_t bytes = 8) {
    return ParseMegatronIndex(std::as_bytes(std::span(index)), bytes, "t").status().message();
  };
  const std::string good = Index(8, {3, 1}, {0, 6}, {0, 2});
  EXPECT_EQ(refusal(good), "");
  EXPECT_EQ(refusal(good + "ab"), "");  // a byte more of each sequence: its mode
  EXPECT_EQ(refusal(good + "a"), "t: 2 sequences and 2 documents do not fill 75 bytes");
  for (size_t n = 0; n < good.size(); ++n) EXPECT_NE(refusal(good.substr(0, n)), "") << n;
  EXPECT_EQ(refusal(good, 10), "t: the sequences end at byte 8 of the ids, which have 10");
  EXPECT_EQ(refusal(Index(3, {3, 1}, {0, 6}, {0, 2})),
            "t: dtype 3, expected 1 (uint8), 8 (uint16) or 4 (int32)");
  EXPECT_EQ(refusal(Index(8, {3, -1}, {0, 6}, {0, 2})),
            "t: sequence 1 has -1 ids at byte 6, expected at byte 6");
  EXPECT_EQ(refusal(Index(8, {3, 1}, {0, 7}, {0, 2})),
            "t: sequence 1 has 1 ids at byte 7, expected at byte 6");
  EXPECT_EQ(refusal(Index(8, {3, 1}, {0, 6}, {0, 3})), "t: document 1 begins at sequence 3 of 2");
  std::string many = good;
  many[25] = '\x7f';  // the highest byte of the number of sequences
  EXPECT_EQ(refusal(many), "t: 9151314442816847874 sequences and 2 documents do not fill 74 bytes");
  std::string version = good;
  version[9] = 2;
  EXPECT_EQ(refusal(version), "t: version 2, expected 1");
}

}  // namespace
}  // namespace ds::data
