// Any bytes as a tokenizer.json: never a crash, and what is accepted encodes any text to ids that
// it has, and reads what it writes.
#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "base/utf8.h"
#include "fuzzing.h"
#include "token/bpe_tokenizer.h"
#include "token/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ds::token;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  auto parts = ParseTokenizerJson(json, "t");
  if (!parts.ok()) {
    Require(!parts.status().message().empty(), "refused without a word");
    return 0;
  }
  const bool bytes = parts->kind == BpeParts::Kind::kBytes;
  bool all = true;  // bytes have tokens of their own
  for (size_t byte = 0; byte < 256; ++byte) {
    const int32_t id = parts->byte_ids[byte];
    all = all && id >= 0 &&
          parts->tokens[static_cast<size_t>(id)] == std::string(1, static_cast<char>(byte));
  }
  const bool exact =
      bytes && all && !parts->nfc && !parts->add_prefix_space && parts->added.empty();
  if (bytes && parts->added.empty()) {
    auto again = ParseTokenizerJson(ToTokenizerJson(*parts), "t");
    if (!again.ok()) std::fprintf(stderr, "refused: %s\n", again.status().message().c_str());
    Require(again.ok() || parts->split == SplitRule::kNone, "what it writes is refused");
    if (again.ok()) Require(again->tokens == parts->tokens, "other tokens come back");
  }
  auto made = BpeTokenizer::Create(*parts);
  if (!made.ok()) return 0;
  const Tokenizer& tokenizer = **made;
  std::string tail = ds::LossyUtf8(json.substr(size - std::min<size_t>(size, 64)));
  std::string run(200, static_cast<char>(tail.empty() ? 'a' : tail.front() & 0x7F));
  for (const std::string& text :
       {tail, run, std::string("a \n\n b12345 '\u017fs caf\u00e9 e\u0301 \u4e16<|x|> ")}) {
    auto ids = tokenizer.Encode(text, /*whole=*/true);
    Require(ids.ok(), "a text in UTF-8 is refused");
    for (const int32_t id : *ids) Require(id >= 0 && id < tokenizer.vocab(), "an id too large");
    auto decoded = tokenizer.Decode(*ids);
    Require(decoded.ok(), "its own ids are refused");
    if (exact && tokenizer.before().empty() && tokenizer.behind().empty()) {
      Require(*decoded == text, "another text comes back");
    }
    const size_t cut = tokenizer.FindCut(text, text.size() / 2);
    Require(cut <= text.size(), "a cut behind the text");
    if (tokenizer.before().empty() && tokenizer.behind().empty()) {
      auto first = tokenizer.Encode(text.substr(0, cut)),
           second = tokenizer.Encode(text.substr(cut));
      first->insert(first->end(), second->begin(), second->end());
      Require(*first == *ids, "the parts are not the whole");
    }
  }
  return 0;
}
