#include "token/special_tokens.h"

#include <algorithm>

#include "base/json.h"
#include "token/bpe_tokenizer.h"
#include "token/tokenizer_json.h"

namespace ds::token {
namespace {

constexpr char kFile[] = "tokenizer.json";

// Whether the vocabulary spells a token so: it would be one with two ids.
bool Spells(const BpeParts& parts, const std::string& content) {
  if (parts.kind == BpeParts::Kind::kCharacters) return parts.characters.contains(content);
  std::string bytes;
  if (!FromByteAlphabet(content, bytes)) return false;
  return std::find(parts.tokens.begin(), parts.tokens.end(), bytes) != parts.tokens.end();
}

// Puts the added tokens from `first` on into the text of the file.
Status AddToFile(std::span<const AddedToken> added, std::string& text) {
  DS_ASSIGN(Json root, ParseJson(text, kFile, {.max_bytes = int64_t{256} << 20}));
  Json& list = root["added_tokens"];
  if (!list.is_array()) list = Json::array();  // absent where there were none
  for (const AddedToken& token : added) list.push_back(Json(ToJson(token)));
  text = DumpJson(root, -1);
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> WithSpecialTokens(const Tokenizer& tokenizer,
                                                     std::span<const std::string> tokens) {
  const auto* bpe = dynamic_cast<const BpeTokenizer*>(&tokenizer);
  const auto is_file = [](const TokenizerFile& file) { return file.name == kFile; };
  if (bpe == nullptr || std::none_of(bpe->files().begin(), bpe->files().end(), is_file)) {
    return Error(Code::kUnsupported,
                 "the tokenizer ({}) is none of a {}, to which tokens are added",
                 tokenizer.description(), kFile);
  }
  BpeParts parts = bpe->parts();
  parts.files = bpe->files();
  const size_t before = parts.added.size();
  for (const std::string& content : tokens) {
    const auto there = std::find_if(parts.added.begin(), parts.added.end(),
                                    [&](const auto& token) { return token.content == content; });
    if (there != parts.added.end() && there->special) continue;
    DS_TRY(AddSpecial(content, parts.added));
    if (Spells(parts, content)) {
      return InvalidArgument("the special token '{}' is a word of the vocabulary already", content);
    }
    parts.added.back().id = static_cast<int32_t>(parts.tokens.size());
    parts.tokens.push_back(content);
  }
  const auto file = std::find_if(parts.files.begin(), parts.files.end(), is_file);
  DS_TRY(AddToFile(std::span(parts.added).subspan(before), file->text));
  return BpeTokenizer::Create(std::move(parts));
}

}  // namespace ds::token
