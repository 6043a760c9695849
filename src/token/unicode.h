// What a code point is, as far as the splitting rules of tokenizers ask. The tables are made by
// tools/make_unicode.py, which names their Unicode version.
#pragma once

#include <cstdint>

namespace ds::token {

enum class CharClass : uint8_t { kOther, kLetter, kNumber, kSpace };

// For any value, also kNotUtf8, which is kOther.
CharClass ClassOf(uint32_t code_point);
inline bool IsSpace(uint32_t code_point) { return ClassOf(code_point) == CharClass::kSpace; }
// \w of a regular expression.
bool IsWord(uint32_t code_point);

}  // namespace ds::token
