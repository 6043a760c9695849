// Any bytes as model.safetensors.index.json: never a crash, and no file outside of the folder.
#include <cstdint>

#include "checkpoint/shard_index.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  auto index = ds::checkpoint::ParseShardIndex(json, "t");
  if (!index.ok()) {
    Require(!index.status().message().empty(), "refused without a word");
    return 0;
  }
  for (const auto& [tensor, file] : *index) {
    Require(!file.empty() && file != "." && file != "..", "a name that is a folder");
    for (const char c : file) Require(c != '/' && c != '\0', "a name that leads elsewhere");
  }
  return 0;
}
