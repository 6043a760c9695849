#include "token/tiktoken.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "small_bpe.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace ds::token {
namespace {

std::string Base64(const std::string& bytes) {
  static const char* kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t word = 0;
    for (size_t i = 0; i < 3; ++i) {
      word = word << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0);
    }
    for (size_t i = 0; i < 4; ++i) {
      out += at + i <= bytes.size() ? kLetters[word >> (18 - 6 * i) & 63] : '=';
    }
  }
  return out;
}

std::string File(const std::vector<std::string>& tokens) {
  std::string text;
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    text += Base64(tokens[rank]) + " " + std::to_string(rank) + "\n";
  }
  return text;
}

// The same vocabulary as ranks and as merges gives the same ids.
TEST(TiktokenGolden, AgreesWithTheMerges) {
  const std::string folder = test::GoldenPath("hf/tokenizers/llama3");
  auto json = ParseTokenizerJson(*ReadFile(folder + "/tokenizer.json"), "t");
  ASSERT_TRUE(json.ok()) << json.status().message();
  std::vector<std::string> tokens = json->tokens;
  tokens.resize(tokens.size() - json->added.size());
  auto parts = ParseTiktoken(File(tokens), "t", SplitRule::kLlama3);
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  EXPECT_EQ(parts->tokens, tokens);
  auto again = ParseTokenizerJson(parts->files.at(0).text, "t");
  ASSERT_TRUE(again.ok()) << again.status().message();
  json->added.clear();
  const auto ours = BpeTokenizer::Create(std::move(parts).Take()).Take();
  const auto saved = BpeTokenizer::Create(std::move(again).Take()).Take();
  const auto want = BpeTokenizer::Create(std::move(json).Take()).Take();
  auto strings = ParseJson(*ReadFile(test::GoldenPath("hf/tokenizers/strings.json")), "s");
  ASSERT_TRUE(strings.ok());
  for (const Json& row : (*strings)["cases"]) {
    const std::string text = row["text"];
    EXPECT_EQ(*ours->Encode(text), *want->Encode(text)) << row["id"];
    EXPECT_EQ(*saved->Encode(text), *want->Encode(text)) << row["id"];
  }
}

TEST(Tiktoken, OpensByRuleOrByTheNumberOfRanks) {
  test::TempDir dir;
  const std::string path = dir.Write("t.tiktoken", File(SmallBpe({{"a", "b"}}).tokens));
  EXPECT_EQ(*(*Tokenizer::Open("gpt2:" + path))->Encode("ab12"), (Ids{256, '1', '2'}));
  EXPECT_EQ(Tokenizer::Open(path).status().message(),
            path +
                ": has 257 ranks, which is no published file: name its splitting rule, as in "
                "gpt2:FILE, llama3:FILE or qwen2:FILE");
  std::vector<std::string> tokens = SmallBpe({}).tokens;
  for (int i = 256; i < 50256; ++i) tokens.push_back(std::to_string(i) + "!");
  const auto gpt2 = Tokenizer::Open(dir.Write("g.tiktoken", File(tokens))).Take();
  EXPECT_EQ(gpt2->vocab(), 50257);
  EXPECT_EQ(gpt2->end_of_text(), 50256);
  EXPECT_EQ(*gpt2->Encode("a<|endoftext|>"), (Ids{'a', 50256}));
}

TEST(Tiktoken, RefusesWhatIsWrong) {
  const auto refusal = [](const std::string& text) {
    return ParseTiktoken(text, "t", SplitRule::kGpt2).status().message();
  };
  EXPECT_EQ(refusal("IQ== 0\nIQ=\n"), "t: line 2 is not a token in base64 and its rank");
  EXPECT_EQ(refusal("IQ== 1\n"), "t: line 1: rank 1, expected 0");
  EXPECT_EQ(refusal("IQ==\n"), "t: line 1 is not a token in base64 and its rank");
  EXPECT_EQ(refusal("I=Q= 0\n"), "t: line 1 is not a token in base64 and its rank");
  EXPECT_EQ(refusal("IQ== 0x\n"), "t: line 1 is not a token in base64 and its rank");
  EXPECT_EQ(refusal(" 0\n"), "t: line 1 is not a token in base64 and its rank");
  EXPECT_EQ(refusal("IQ== 0\n"), "t: no rank for the byte 0x00");
  EXPECT_EQ(refusal("IQ== 0\nIQ== 1\n"), "t: rank 1 has the bytes of rank 0");
  EXPECT_EQ(refusal(""), "t: no rank for the byte 0x00");
  EXPECT_EQ(refusal(std::string(1000, 'A') + " 0\n"),
            "t: line 1: a token of 750 bytes, at most 512");
  EXPECT_EQ(refusal("\n\x05<unk>"),
            "t: is a SentencePiece model, which is not read; its tokenizer.json is");
}

}  // namespace
}  // namespace ds::token
