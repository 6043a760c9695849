// A tokenizer with special tokens that its file has not: those that lay out conversations, for a
// model that was trained on plain text.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "token/tokenizer.h"

namespace ds::token {

// The same ids, and behind them one for each of `tokens` that is no special token yet. Fails where
// the tokenizer is none of a tokenizer.json, or has ids without a token, and on a token that is a
// word of the vocabulary or that CheckSpecial refuses.
Result<std::unique_ptr<Tokenizer>> WithSpecialTokens(const Tokenizer& tokenizer,
                                                     std::span<const std::string> tokens);

}  // namespace ds::token
