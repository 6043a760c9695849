// Any bytes as the config.json of a model: never a crash, and what is accepted is checked, and is
// the same when it is written and read again.
#include <cstdint>

#include "fuzzing.h"
#include "model/family.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto parsed = ds::model::ParseHfConfig(text);
  if (!parsed.ok()) {
    Require(!parsed.status().message().empty(), "refused without a word");
    return 0;
  }
  Require(parsed->config.Check().ok(), "a config that does not pass its check");
  const std::string written = ds::model::ToHfConfig(parsed->config, ds::DType::kF32);
  auto again = ds::model::ParseHfConfig(written);
  Require(again.ok(), "what was written is refused");
  Require(ds::model::ToHfConfig(again->config, ds::DType::kF32) == written, "not the same again");
  return 0;
}
