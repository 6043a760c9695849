// UTF-8 one code point at a time, over bytes that may be anything. Not a validator of what the code
// points mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ds {

// What a byte that does not belong to a well-formed sequence reads as: no code point is this large.
constexpr uint32_t kNotUtf8 = 0x110000;

struct CodePoint {
  uint32_t value;
  size_t bytes;  // from 1
};

// At `at` < text.size(). Overlong forms, surrogates and what is beyond U+10FFFF are no UTF-8; their
// first byte alone is taken.
CodePoint ReadUtf8(std::string_view text, size_t at);
// The code point that ends at `end` > 0.
CodePoint ReadUtf8Before(std::string_view text, size_t end);
void AppendUtf8(uint32_t code_point, std::string& out);

// Fails at the first byte that is not UTF-8, with its place; `what` names the text.
Status CheckUtf8(std::string_view text, std::string_view what);
// With U+FFFD for every maximal part of a sequence that is not UTF-8, as decoders of text do.
std::string LossyUtf8(std::string_view bytes);

}  // namespace ds
