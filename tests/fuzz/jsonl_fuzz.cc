// Any bytes as a line of JSON lines: never a crash, and a text that is accepted is UTF-8.
#include <cstdint>

#include "base/utf8.h"
#include "data/documents.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  using ds::data::TextFormat;
  for (const TextFormat format : {TextFormat::kJsonLines, TextFormat::kChat}) {
    ds::data::Document document;
    const ds::Status status = ds::data::ParseJsonLine(line, format, "text", document);
    Require(status.ok() || !status.message().empty(), "refused without a word");
    if (!status.ok()) continue;
    Require(ds::CheckUtf8(document.text, "t").ok(), "a text that is not UTF-8");
    for (const auto& turn : document.turns) {
      Require(ds::CheckUtf8(turn.role + turn.content, "t").ok(), "a turn that is not UTF-8");
    }
  }
  return 0;
}
