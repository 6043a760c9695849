#include "token/plain_tokenizers.h"

#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"

namespace ds::token {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  int64_t vocab() const override { return 256; }
  std::string description() const override { return "bytes"; }
  const char* unit() const override { return "byte"; }
  using Tokenizer::Encode;
  Status Encode(std::string_view text, WordCache&, Ids& ids) const override {
    ids.reserve(ids.size() + text.size());
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    return {};
  }
  Status DecodeOne(int32_t id, std::string& text) const override {
    if (id < 0 || id >= 256) return InvalidArgument("token {}: the vocabulary has 256", id);
    text += static_cast<char>(id);
    return {};
  }
  size_t FindCut(std::string_view text, size_t from) const override {
    return std::min(from, text.size());
  }
};

class CharTokenizer final : public Tokenizer {
 public:
  // Some, in the order of their code points.
  explicit CharTokenizer(std::vector<uint32_t> characters) : characters_(std::move(characters)) {
    Json list = Json::array();
    ids_.assign(characters_.back() + size_t{1}, -1);
    for (size_t i = 0; i < characters_.size(); ++i) {
      ids_[characters_[i]] = static_cast<int32_t>(i);
      list.push_back(Text(characters_[i]));
    }
    Carry({"characters.json", DumpJson({{"characters", list}}, -1) + "\n"});
  }

  int64_t vocab() const override { return static_cast<int64_t>(characters_.size()); }
  std::string description() const override {
    return fmt::format("{} characters", characters_.size());
  }
  const char* unit() const override { return "character"; }
  using Tokenizer::Encode;
  Status Encode(std::string_view text, WordCache&, Ids& ids) const override {
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = ReadUtf8(text, at);
      if (c.value >= ids_.size() || ids_[c.value] < 0) {
        DS_TRY(CheckUtf8(text.substr(0, at + c.bytes), "text"));
        return InvalidArgument(
            "character {} (U+{:04X}) at byte {} is none of the {} of the vocabulary",
            DumpJson(Json(Text(c.value)), -1), c.value, at, characters_.size());
      }
      ids.push_back(ids_[c.value]);
      at += c.bytes;
    }
    return {};
  }
  Status DecodeOne(int32_t id, std::string& text) const override {
    if (id < 0 || id >= vocab()) {
      return InvalidArgument("token {}: the vocabulary has {}", id, vocab());
    }
    AppendUtf8(characters_[static_cast<size_t>(id)], text);
    return {};
  }
  size_t FindCut(std::string_view text, size_t from) const override {
    while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
    return std::min(from, text.size());
  }

 private:
  static std::string Text(uint32_t character) {
    std::string text;
    AppendUtf8(character, text);
    return text;
  }

  const std::vector<uint32_t> characters_;
  Ids ids_;  // by code point; -1: none
};

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer() { return std::make_unique<ByteTokenizer>(); }

CharacterSet::CharacterSet() : seen_(kNotUtf8) {}

Status CharacterSet::Add(std::string_view text, std::string_view what) {
  DS_TRY(CheckUtf8(text, what));
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadUtf8(text, at);
    seen_[c.value] = true;
    at += c.bytes;
  }
  return {};
}

Result<std::unique_ptr<Tokenizer>> CharacterSet::Make() const {
  std::vector<uint32_t> characters;
  for (uint32_t c = 0; c < kNotUtf8; ++c) {
    if (seen_[c]) characters.push_back(c);
  }
  if (characters.empty()) return InvalidArgument("the text is empty, it has no characters");
  return std::unique_ptr<Tokenizer>(std::make_unique<CharTokenizer>(std::move(characters)));
}

Result<std::unique_ptr<Tokenizer>> ParseCharTokenizer(std::string_view json,
                                                      std::string_view what) {
  DS_ASSIGN(const Json root, ParseJson(json, what));
  const Json list = root.is_object() ? root.value("characters", Json()) : Json();
  if (!list.is_array() || list.empty()) {
    return Error(Code::kConfig, "{}: characters is {}, expected an array with some", what,
                 list.is_array() ? "empty" : JsonTypeName(list));
  }
  std::vector<uint32_t> characters;
  for (const Json& item : list) {
    const std::string text = item.is_string() ? item.get<std::string>() : "";
    const CodePoint c = text.empty() ? CodePoint{kNotUtf8, 0} : ReadUtf8(text, 0);
    if (text.empty() || c.bytes != text.size()) {
      return Error(Code::kConfig, "{}: characters[{}] is {}, expected one character", what,
                   characters.size(), DumpJson(item, -1).substr(0, 40));
    }
    if (!characters.empty() && c.value <= characters.back()) {
      return Error(Code::kConfig, "{}: characters[{}] is U+{:04X}, behind U+{:04X}: not sorted",
                   what, characters.size(), c.value, characters.back());
    }
    characters.push_back(c.value);
  }
  return std::unique_ptr<Tokenizer>(std::make_unique<CharTokenizer>(std::move(characters)));
}

}  // namespace ds::token
