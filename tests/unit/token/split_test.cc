#include "token/split.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "token/unicode.h"

namespace ds::token {
namespace {

using Words = std::vector<std::string>;

Words Split(SplitRule rule, const std::string& text) {
  Words words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = WordEnd(rule, text, at);
    EXPECT_GT(end, at);
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

TEST(Split, Gpt2) {
  const auto split = [](const std::string& text) { return Split(SplitRule::kGpt2, text); };
  EXPECT_EQ(split("Hello  world's 123abc!?\n"),
            (Words{"Hello", " ", " world", "'s", " 123", "abc", "!?", "\n"}));
  EXPECT_EQ(split("'S 'll'x"), (Words{"'", "S", " '", "ll", "'", "x"}));  // cases count
  EXPECT_EQ(split("a  \n\n b"), (Words{"a", "  \n\n", " b"}));
  EXPECT_EQ(split("a\n\nb"), (Words{"a", "\n", "\n", "b"}));
  EXPECT_EQ(split("a   "), (Words{"a", "   "}));
  EXPECT_EQ(split(" "), Words{" "});
  EXPECT_EQ(split("\u00a0x \u3000"), (Words{"\u00a0", "x", " \u3000"}));
  EXPECT_EQ(split("\u00e9\u0301\u0663\u00bd"), (Words{"\u00e9", "\u0301", "\u0663\u00bd"}));
}

TEST(Split, Llama3) {
  const auto split = [](const std::string& text) { return Split(SplitRule::kLlama3, text); };
  EXPECT_EQ(split("Hello  world'S 12345abc!?\n\nx"),
            (Words{"Hello", " ", " world", "'S", " ", "123", "45", "abc", "!?\n\n", "x"}));
  EXPECT_EQ(split("(a)\tb"), (Words{"(a", ")", "\tb"}));
  EXPECT_EQ(split("a \r\n  \n  b"), (Words{"a", " \r\n  \n", " ", " b"}));
  EXPECT_EQ(split("\nword"), (Words{"\n", "word"}));
  EXPECT_EQ(split("x !\n?"), (Words{"x", " !\n", "?"}));
  EXPECT_EQ(split("'\u017fa 'LLb 'x"), (Words{"'\u017f", "a", " '", "LLb", " '", "x"}));
  EXPECT_EQ(split("a  "), (Words{"a", "  "}));
  EXPECT_EQ(split("a\t\t1"), (Words{"a", "\t", "\t", "1"}));
}

TEST(Split, Qwen2TakesDigitsOneByOne) {
  EXPECT_EQ(Split(SplitRule::kQwen2, "a123 4"), (Words{"a", "1", "2", "3", " ", "4"}));
}

TEST(Split, SmolLmCutsDigitsOutFirst) {
  const auto split = [](const std::string& text) { return Split(SplitRule::kSmolLm, text); };
  EXPECT_EQ(split("Hello  world's 123abc!?\n"),
            (Words{"Hello", " ", " world", "'s", " ", "1", "2", "3", "abc", "!?", "\n"}));
  EXPECT_EQ(split("a   1\n\n2  b"), (Words{"a", "   ", "1", "\n\n", "2", " ", " b"}));
  EXPECT_EQ(split("\u00e9\u0663\u00bd \u2167"),
            (Words{"\u00e9", "\u0663", "\u00bd", " ", "\u2167"}));
  EXPECT_EQ(split("x1'll 'll2"), (Words{"x", "1", "'ll", " '", "ll", "2"}));
}

TEST(Split, BytesThatAreNotUtf8AreOthers) {
  EXPECT_EQ(Split(SplitRule::kGpt2, "a\xff\xc3 b"), (Words{"a", "\xff\xc3", " b"}));
  EXPECT_EQ(Split(SplitRule::kLlama3, "a\xff\xe4\xb8"), (Words{"a", "\xff\xe4\xb8"}));
}

TEST(Split, RulesAreKnownByTheirPatterns) {
  for (const SplitRule rule : {SplitRule::kGpt2, SplitRule::kLlama3, SplitRule::kQwen2}) {
    EXPECT_EQ(FindSplitRule(SplitPattern(rule)), rule);
    EXPECT_EQ(SplitRuleOfName(SplitRuleName(rule)), rule);
  }
  EXPECT_EQ(SplitRuleOfName("smollm"), SplitRule::kSmolLm);
  EXPECT_EQ(FindSplitRule(SplitPattern(SplitRule::kSmolLm)),
            SplitRule::kGpt2);  // without the digits
  EXPECT_FALSE(FindSplitRule("\\s+").has_value());
  EXPECT_FALSE(FindSplitRule("").has_value());
  EXPECT_FALSE(SplitRuleOfName("none").has_value());
}

TEST(Split, LongRunsTakeLinearTime) {
  for (const char* unit : {"a", " ", "\n", "1", "!", " \n", "'", "\u00e9", "\xff", "\t \r"}) {
    std::string text;
    while (text.size() < size_t{1} << 20) text += unit;
    for (const SplitRule rule :
         {SplitRule::kGpt2, SplitRule::kLlama3, SplitRule::kQwen2, SplitRule::kSmolLm}) {
      size_t words = 0;
      for (size_t at = 0; at < text.size(); ++words) at = WordEnd(rule, text, at);
      EXPECT_GE(words, 1u);
    }
  }
}

TEST(Unicode, Classes) {
  EXPECT_EQ(ClassOf('a'), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x4E00), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x2A6DF), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x2A6E0), CharClass::kOther);  // the first one behind it
  EXPECT_EQ(ClassOf(0x1D7CE), CharClass::kNumber);
  EXPECT_EQ(ClassOf(0xBD), CharClass::kNumber);
  EXPECT_EQ(ClassOf(0x0B), CharClass::kSpace);
  EXPECT_EQ(ClassOf(0x1C), CharClass::kOther);
  EXPECT_EQ(ClassOf(0x200B), CharClass::kOther);
  EXPECT_EQ(ClassOf(kNotUtf8), CharClass::kOther);
  EXPECT_TRUE(IsWord('_') && IsWord('9') && IsWord(0x301) && IsWord(0x200D) && IsWord(0x24B6));
  EXPECT_FALSE(IsWord(0xBD) || IsWord('-') || IsWord(' ') || IsWord(kNotUtf8));
}

}  // namespace
}  // namespace ds::token
