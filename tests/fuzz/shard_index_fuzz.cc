// Any bytes as model.safetensors.index.json: never a crash, and no file outside of the folder.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "checkpoint/shard_index.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "shard_index_fuzz: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" const char* __asan_default_options() {
  return "malloc_context_size=2:quarantine_size_mb=16";
}

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
