// Any bytes as an index of Megatron: never a crash, and what is accepted fits its file of ids.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "data/token_file.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The first two bytes are the size of the ids, so that a match is within reach.
  if (size < 2) return 0;
  const size_t id_bytes = data[0] | static_cast<size_t>(data[1]) << 8;
  const auto index = std::as_bytes(std::span(data + 2, size - 2));
  auto found = ds::data::ParseMegatronIndex(index, id_bytes, "t");
  const bool good =
      found.ok() ? found->width * found->tokens == id_bytes : !found.status().message().empty();
  if (!good) {
    std::fprintf(stderr, "megatron_fuzz: accepted what does not fit, or refused without a word\n");
    std::abort();
  }
  return 0;
}
