// The two tokenizers that need no training: a byte an id, and a character an id.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "token/tokenizer.h"

namespace ds::token {

// Any bytes; there is nothing to save.
std::unique_ptr<Tokenizer> MakeByteTokenizer();

// The characters of the text, sorted. Fails on a text that is empty or not UTF-8; `what` names it.
Result<std::unique_ptr<Tokenizer>> MakeCharTokenizer(std::string_view text, std::string_view what);
// characters.json, as files() of the above has it.
Result<std::unique_ptr<Tokenizer>> ParseCharTokenizer(std::string_view json, std::string_view what);

}  // namespace ds::token
