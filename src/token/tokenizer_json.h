// tokenizer.json, as the tokenizers library of Hugging Face writes it, for byte-pair encodings.
// What a file asks for and we do not do is refused by name.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "token/bpe_tokenizer.h"

namespace ds::token {

// Of the text of such a file, which can be large.
JsonLimits TokenizerJsonLimits();

// `what` names the text in errors. The parts have no files.
Result<BpeParts> ParseTokenizerJson(std::string_view text, std::string_view what);
// A byte-level encoding; its tokens must be made of bytes.
std::string ToTokenizerJson(const BpeParts& parts);
// An entry of its added_tokens.
nlohmann::ordered_json ToJson(const AddedToken& token);

}  // namespace ds::token
