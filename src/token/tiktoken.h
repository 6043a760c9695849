// The files of tiktoken: a line a token, its bytes in base64 and its rank. They name no splitting
// rule and no special tokens; those of the published files are known by the number of ranks.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "token/bpe_tokenizer.h"

namespace ds::token {

// `rule` where it is not to be found by the number of ranks; then there are no special tokens but
// those of the files that are known. The parts have one file: a tokenizer.json that says the same.
Result<BpeParts> ParseTiktoken(std::string_view text, std::string_view what,
                               std::optional<SplitRule> rule);

}  // namespace ds::token
