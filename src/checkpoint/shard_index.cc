#include "checkpoint/shard_index.h"

#include "base/json.h"

namespace ds::checkpoint {
namespace {

bool IsPlainName(const std::string& name) {
  constexpr std::string_view kApart("/\0", 2);
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(kApart) == std::string::npos;
}

}  // namespace

Result<std::map<std::string, std::string>> ParseShardIndex(std::string_view json,
                                                           std::string_view what) {
  DS_ASSIGN(const Json index, ParseJson(json, what));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return Error(Code::kCorruptData, "{}: weight_map is not an object", what);
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !IsPlainName(file.get<std::string>())) {
      return Error(Code::kCorruptData, "{}: tensor {} is in {}, expected a file beside the index",
                   what, tensor, DumpJson(file, -1));
    }
    files[tensor] = file.get<std::string>();
  }
  return files;
}

}  // namespace ds::checkpoint
