#include "token/bpe_trainer.h"

#include <gtest/gtest.h>

#include "token/tokenizer_json.h"

namespace ds::token {
namespace {

Result<BpeParts> Train(const std::vector<std::string>& texts, int64_t vocab,
                       SplitRule rule = SplitRule::kGpt2,
                       const std::vector<std::string>& special = {}) {
  DS_ASSIGN(BpeTrainer trainer, BpeTrainer::Create(rule, vocab, special));
  for (const std::string& text : texts) trainer.Add(text);
  return trainer.Train([](int64_t) { return true; });
}

std::vector<std::string> Learned(const BpeParts& parts) {
  return {parts.tokens.begin() + 256, parts.tokens.end() - 1};
}

TEST(BpeTrainer, TheMostFrequentPairFirst) {
  auto parts = Train({"low low low lower lower newest newest newest newest widest"}, 262);
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  // "we" stands 6 times, "lo" and "st" 5 times and l is before s; of the pairs that are left 4
  // times those of the lower ids go first.
  EXPECT_EQ(Learned(*parts), (std::vector<std::string>{"we", "lo", "st", "ewe", "newe"}));
  EXPECT_EQ(parts->tokens.size(), 262u);
  EXPECT_EQ(parts->end_of_text, 261);
}

TEST(BpeTrainer, EndsWhereNoPairStandsTwice) {
  auto parts = Train({"ab", "ab", "xyz"}, 1000);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(Learned(*parts), std::vector<std::string>{"ab"});
}

TEST(BpeTrainer, ARunOfOneLetter) {
  auto parts = Train({std::string(1 << 16, 'a')}, 270);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(parts->tokens[256], "aa");
  EXPECT_EQ(parts->tokens[257], "aaaa");
  EXPECT_EQ(parts->tokens[268].size(), size_t{1} << 13);
}

TEST(BpeTrainer, WhatItWritesIsReadAndEncodesTheText) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += fmt::format("word{} caf\u00e9 {}\n", i % 71, i * i % 97);
  for (const SplitRule rule : {SplitRule::kGpt2, SplitRule::kLlama3, SplitRule::kQwen2}) {
    auto parts = Train({text}, 400, rule), again = Train({text}, 400, rule);
    ASSERT_TRUE(parts.ok());
    EXPECT_EQ(parts->files[0].text, again->files[0].text);
    auto read = ParseTokenizerJson(parts->files[0].text, "t");
    ASSERT_TRUE(read.ok()) << read.status().message();
    const auto tokenizer = BpeTokenizer::Create(std::move(read).Take()).Take();
    const Ids ids = *tokenizer->Encode(text);
    EXPECT_LT(ids.size(), text.size() / 2);
    EXPECT_EQ(*tokenizer->Decode(ids), text);
    EXPECT_EQ(ids, *BpeTokenizer::Create(std::move(parts).Take()).Take()->Encode(text));
  }
}

TEST(BpeTrainer, SpecialTokensAreNotLearnedFrom) {
  const std::vector<std::string> special = {"<|im_start|>", "<|im_end|>"};
  std::string text;
  for (int i = 0; i < 50; ++i) text += "<|im_start|>low lower<|im_end|><|endoftext|>";
  auto parts = Train({text}, 1000, SplitRule::kGpt2, special);
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  const std::vector<std::string> behind(parts->tokens.end() - 3, parts->tokens.end());
  EXPECT_EQ(behind, (std::vector<std::string>{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}));
  const auto vocab = static_cast<int32_t>(parts->tokens.size());
  EXPECT_LT(vocab, 270);
  for (const std::string& token : parts->tokens) {
    EXPECT_TRUE(token.size() == 1 || token.find_first_of("<|_") == token.npos ||
                std::find(behind.begin(), behind.end(), token) != behind.end())
        << token;
  }
  auto read = ParseTokenizerJson(parts->files[0].text, "t");
  ASSERT_TRUE(read.ok()) << read.status().message();
  const auto tokenizer = BpeTokenizer::Create(std::move(read).Take()).Take();
  const Ids ids = *tokenizer->Encode("<|im_start|>low<|im_end|>");
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_TRUE(tokenizer->IsSpecial(ids[0]));
  EXPECT_FALSE(tokenizer->IsSpecial(ids[1]));
  EXPECT_EQ(ids[2], vocab - 1);
  EXPECT_EQ(tokenizer->end_of_text(), vocab - 3);
}

TEST(BpeTrainer, RefusesSpecialTokensThatCannotBe) {
  const auto refused = [](const std::vector<std::string>& special, int64_t vocab = 300) {
    return Train({"abab abab abab abab"}, vocab, SplitRule::kGpt2, special).status().message();
  };
  EXPECT_EQ(refused({""}), "a special token of 0 bytes, expected 1 to 1024");
  EXPECT_EQ(refused({std::string(1025, 'x')}), "a special token of 1025 bytes, expected 1 to 1024");
  EXPECT_EQ(refused({"<s>", "<s>"}), "the special token '<s>' is there already");
  EXPECT_EQ(refused({"<|endoftext|>"}), "the special token '<|endoftext|>' is there already");
  EXPECT_EQ(refused({"a"}), "the special token 'a' is how a byte is written");
  EXPECT_EQ(refused({"\u00A7"}), "the special token '\u00A7' is how a byte is written");
  EXPECT_EQ(refused({"\u0120abab"}), "the special token '\u0120abab' is one that the text teaches");
  EXPECT_EQ(refused({"<s>", "</s>"}, 258), "a vocabulary of 258, expected 259 to 4194304");
  EXPECT_EQ(refused({"abab"}), "");  // cut out of the text, so not learned
  EXPECT_NE(refused({"\xFF"}).find("UTF-8"), std::string::npos);
}

TEST(BpeTrainer, RefusesWhatCannotBe) {
  EXPECT_EQ(Train({"a"}, 256).status().message(), "a vocabulary of 256, expected 257 to 4194304");
  EXPECT_EQ(Train({}, 300).status().message(), "the text is empty, it has no words");
  BpeTrainer trainer = BpeTrainer::Create(SplitRule::kGpt2, 300, {}).Take();
  trainer.Add("abab abab");
  EXPECT_EQ(trainer.Train([](int64_t) { return false; }).status().code(), Code::kCancelled);
}

}  // namespace
}  // namespace ds::token
