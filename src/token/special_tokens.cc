#include "token/special_tokens.h"

#include <algorithm>

#include "base/json.h"
#include "token/tokenizer_json.h"

namespace ds::token {
namespace {

// The entry of an added token, or null.
Json* FindAdded(Json& list, const std::string& content) {
  for (Json& entry : list) {
    if (entry.value("content", Json()) == content) return &entry;
  }
  return nullptr;
}

// Puts those of `tokens` that are not there into the file, with ids from `next` on; an added token
// that is there becomes a special one. False: all were there.
Result<bool> AddToFile(std::span<const std::string> tokens, int64_t next, Json& file) {
  Json& list = file["added_tokens"];
  if (list.is_null()) list = Json::array();
  const Json& vocab = file["model"]["vocab"];
  const auto added =
      static_cast<int64_t>(std::count_if(list.begin(), list.end(), [&](const Json& entry) {
        return !vocab.contains(entry.value("content", ""));
      }));
  if (static_cast<int64_t>(vocab.size()) + added != next) {
    return Error(Code::kUnsupported,
                 "{}: {} tokens have ids up to {}, and those without a token would go to others in "
                 "other programs",
                 kTokenizerJson, static_cast<int64_t>(vocab.size()) + added, next - 1);
  }
  bool changed = false;
  for (const std::string& content : tokens) {
    DS_TRY(CheckSpecial(content));
    if (Json* entry = FindAdded(list, content); entry != nullptr) {
      Json& special = (*entry)["special"];
      changed |= special != true;
      special = true;
      continue;
    }
    if (vocab.contains(content)) {
      return InvalidArgument("'{}' is a word of the vocabulary already", content);
    }
    list.push_back(Json(ToJson({.content = content,
                                .id = static_cast<int32_t>(next++),
                                .normalized = false,
                                .special = true})));
    changed = true;
  }
  return changed;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> WithSpecialTokens(const Tokenizer& tokenizer,
                                                     std::span<const std::string> tokens) {
  std::vector<TokenizerFile> files = tokenizer.files();
  const auto file = std::find_if(files.begin(), files.end(), [](const TokenizerFile& one) {
    return one.name == kTokenizerJson;
  });
  if (file == files.end()) {
    return Error(Code::kUnsupported, "tokens can be added to a {} only, and this tokenizer is: {}",
                 kTokenizerJson, tokenizer.description());
  }
  // What is made is what the new file says, so that it is the same when it is opened again.
  DS_ASSIGN(Json json, ParseJson(file->text, kTokenizerJson, TokenizerJsonLimits()));
  DS_ASSIGN(const bool changed, AddToFile(tokens, tokenizer.vocab(), json));
  std::string text = changed ? DumpJson(json, -1) : std::move(file->text);
  files.erase(file);
  return MakeJsonTokenizer(std::move(text), kTokenizerJson, std::move(files));
}

}  // namespace ds::token
