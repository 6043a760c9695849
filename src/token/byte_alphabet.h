// The alphabet in which GPT-2's vocabulary, and after it every byte-level tokenizer.json, spells
// tokens: each byte is a printable character.
#pragma once

#include <string>
#include <string_view>

namespace ds::token {

// The bytes of what is spelled in it; false where a character is none of them.
bool FromByteAlphabet(std::string_view token, std::string& bytes);
std::string ToByteAlphabet(std::string_view bytes);

}  // namespace ds::token
