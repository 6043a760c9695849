// Any bytes as a ds_config.json: never a crash, and what is accepted resolves to itself.
#include <cstdint>

#include "base/json_scan.h"
#include "engine/config_text.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string plain = ds::BlankJsonExtras(text);
  Require(plain.size() == text.size(), "the text changed its length");
  Require(ds::BlankJsonExtras(plain) == plain, "something was left to blank");
  const auto lines = ds::JsonKeyLines(text);
  auto json = ds::ParseConfigText(text);
  if (!json.ok()) {
    Require(!json.status().message().empty(), "refused without a word");
    return 0;
  }
  const int world = size % 2 == 0 ? 1 : 3;
  const ds::ConfigReading reading = ds::ReadConfig(*json, world);
  for (const auto& problem : reading.checked.problems) {
    Require(!problem.message.empty(), "refused without a word");
  }
  for (const auto& given : reading.checked.given) {
    Require(lines.count(given.path) == 1 || text.find('\\') != text.npos, "a key without a line");
  }
  if (size % 8 == 0) (void)ds::ConfigEntries(reading);  // all keys: dear, and hardly of the text
  if (!reading.checked.problems.empty()) return 0;
  const ds::Json resolved = reading.config.ToJson();
  auto again = ds::ParseConfig(ds::DumpJson(resolved), world);
  Require(again.ok(), "the resolved config is refused");
  Require(again->ToJson() == resolved, "the resolved config resolves to another");
  return 0;
}
