// model.safetensors.index.json: in which of the files beside it each tensor of a large model is.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ds::checkpoint {

// The file of each tensor, a plain name without a folder. A broken index is kCorruptData; `what`
// names it.
Result<std::map<std::string, std::string>> ParseShardIndex(std::string_view json,
                                                           std::string_view what);

}  // namespace ds::checkpoint
