// The two tokenizers that need no training: a byte an id, and a character an id.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "token/tokenizer.h"

namespace ds::token {

// Any bytes; there is nothing to save.
std::unique_ptr<Tokenizer> MakeByteTokenizer();

// The characters of texts, from which a tokenizer of them is made, sorted by code point.
class CharacterSet {
 public:
  CharacterSet();
  // Fails on a text that is not UTF-8; `what` names it.
  Status Add(std::string_view text, std::string_view what);
  // Fails where there are none.
  Result<std::unique_ptr<Tokenizer>> Make() const;

 private:
  std::vector<bool> seen_;  // by code point
};

// characters.json, as files() of the above has it.
Result<std::unique_ptr<Tokenizer>> ParseCharTokenizer(std::string_view json, std::string_view what);

}  // namespace ds::token
