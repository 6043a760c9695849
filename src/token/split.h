// How a tokenizer cuts a text into words before it looks for tokens in them. The rules are known by
// the regular expressions that model files carry, and are written out here: there is no engine for
// others.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/function_ref.h"

namespace ds::token {

enum class SplitRule : uint8_t {
  kNone,    // the text is one word
  kGpt2,    // contractions, then runs of letters, numbers or others with a space before them
  kLlama3,  // any one character before letters, at most three digits, line ends by themselves
  kQwen2,   // as Llama 3, digits one by one
  kSmolLm,  // as GPT-2 between digits, which are cut out one by one before
};

const char* SplitRuleName(SplitRule rule);
// The rule that a regular expression states, if it is one of ours.
std::optional<SplitRule> FindSplitRule(std::string_view pattern);
// "gpt2", "llama3", "qwen2", "smollm"
std::optional<SplitRule> SplitRuleOfName(std::string_view name);
// The regular expression of the rule, for kSmolLm that between digits; "" for kNone.
std::string_view SplitPattern(SplitRule rule);

// The end of the word that begins at `at` < text.size(). A byte that is not UTF-8 counts as a
// character that is neither letter, number nor space.
size_t WordEnd(SplitRule rule, std::string_view text, size_t at);

}  // namespace ds::token
