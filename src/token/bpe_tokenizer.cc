#include "token/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "token/compose.h"

namespace ds::token {
namespace {

std::vector<AddedToken> Select(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> selected;
  for (const AddedToken& token : tokens) {
    if (token.normalized == normalized) selected.push_back(token);
  }
  return selected;
}

std::string Replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0; at <= text.size();) {
    const size_t found = from.empty() ? text.npos : text.find(from, at);
    out += text.substr(at, found - at);
    if (found == text.npos) break;
    out += to;
    at = found + from.size();
  }
  return out;
}

// GPT-2 leaves the last of several white spaces to what follows: there a text may be cut before a
// line end, and behind none; so does SmolLM, but before a digit. The other rules take white space
// through its last line end.
bool CutsBeforeLineEnd(SplitRule rule, bool digit) {
  return rule == SplitRule::kGpt2 || (rule == SplitRule::kSmolLm && !digit);
}

// How an added token that is looked for after normalization is written then.
std::string NormalizedText(const BpeParts& parts, std::string_view text, bool begins = true) {
  std::string out = parts.nfc ? ComposeNfc(text) : std::string(text);
  if (parts.kind == BpeParts::Kind::kCharacters && !parts.metaspace && !out.empty()) {
    out = Replaced(begins ? parts.prepend + out : out, " ", parts.space);
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(BpeParts parts) {
  std::vector<AddedToken> late = Select(parts.added, /*normalized=*/true);
  for (AddedToken& token : late) token.content = NormalizedText(parts, token.content);
  DS_ASSIGN(TokenMatcher normalized, TokenMatcher::Create(std::move(late)));
  DS_ASSIGN(TokenMatcher raw, TokenMatcher::Create(Select(parts.added, /*normalized=*/false)));
  return std::unique_ptr<Tokenizer>(
      new BpeTokenizer(std::move(parts), std::move(raw), std::move(normalized)));
}

BpeTokenizer::BpeTokenizer(BpeParts parts, TokenMatcher raw, TokenMatcher normalized)
    : parts_(std::move(parts)),
      raw_(std::move(raw)),
      normalized_(std::move(normalized)),
      bpe_(parts_.merges),
      special_(parts_.tokens.size()) {
  for (TokenizerFile& file : std::exchange(parts_.files, {})) Carry(std::move(file));
  for (const AddedToken& token : parts_.added) {
    special_[static_cast<size_t>(token.id)] = token.special;
    if (token.lstrip || token.content.find('\n') != std::string::npos) cuts_at_lines_ = false;
    if (token.rstrip && CutsBeforeLineEnd(parts_.split, /*digit=*/false)) cuts_at_lines_ = false;
  }
  words_begin_with_space_ =
      parts_.kind == BpeParts::Kind::kCharacters &&
      std::none_of(parts_.merges.begin(), parts_.merges.end(), [this](const Merge& merge) {
        const std::string& made = parts_.tokens[static_cast<size_t>(merge.into)];
        const size_t letter = made.find_first_not_of(' ');
        return letter != made.npos && made.find(' ', letter) != made.npos;
      });
  if (!parts_.ignore_merges) return;
  std::set<int32_t> not_words = parts_.verbatim;
  for (const AddedToken& token : parts_.added) not_words.insert(token.id);
  for (size_t at = 0; at < parts_.tokens.size(); ++at) {
    const auto id = static_cast<int32_t>(at);
    if (!parts_.tokens[at].empty() && !not_words.contains(id)) {
      whole_.try_emplace(parts_.tokens[at], id);
    }
  }
}

std::string BpeTokenizer::description() const {
  if (parts_.kind == BpeParts::Kind::kCharacters)
    return "BPE over characters, with bytes for others";
  return fmt::format("byte-level BPE, words as in {}", SplitRuleName(parts_.split));
}

bool BpeTokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab() && special_[static_cast<size_t>(id)];
}

Status BpeTokenizer::Encode(std::string_view text, WordCache& cache, Ids& ids) const {
  return EncodeText(text, /*begins=*/true, cache, ids);
}

Status BpeTokenizer::EncodeMore(std::string_view text, WordCache& cache, Ids& ids) const {
  return EncodeText(text, /*begins=*/false, cache, ids);
}

Status BpeTokenizer::EncodeText(std::string_view text, bool begins, WordCache& cache,
                                Ids& ids) const {
  DS_TRY(CheckUtf8(text, "text"));
  return raw_.Cut(
      text,
      [&](std::string_view piece) {
        return EncodeStretch(piece, BeginsAt(piece, text, begins), cache, ids);
      },
      [&](int32_t id) { ids.push_back(id); });
}

Status BpeTokenizer::EncodeStretch(std::string_view text, bool begins, WordCache& cache,
                                   Ids& ids) const {
  std::string changed;
  if (parts_.nfc || (parts_.kind == BpeParts::Kind::kCharacters && !parts_.metaspace)) {
    changed = NormalizedText(parts_, text, begins);
    text = changed;
  }
  return normalized_.Cut(
      text,
      [&](std::string_view piece) -> Status {
        EncodePiece(piece, BeginsAt(piece, text, begins), cache, ids);
        return {};
      },
      [&](int32_t id) { ids.push_back(id); });
}

void BpeTokenizer::EncodePiece(std::string_view text, bool begins, WordCache& cache,
                               Ids& ids) const {
  std::string changed;
  if (parts_.metaspace) {
    changed = Replaced(text, " ", parts_.space);
    if (begins && !changed.starts_with(parts_.space)) changed.insert(0, parts_.prepend);
    text = changed;
  } else if (begins && parts_.add_prefix_space && !text.starts_with(' ')) {
    changed = " " + std::string(text);
    text = changed;
  }
  for (size_t at = 0; at < text.size();) {
    const size_t end = EndOfWord(text, at);
    EncodeWord(text.substr(at, end - at), cache, ids);
    at = end;
  }
}

// Where no token has a space behind a letter, a text of Llama 2 is made of words too: short ones,
// which the cache knows.
size_t BpeTokenizer::EndOfWord(std::string_view text, size_t at) const {
  if (parts_.kind == BpeParts::Kind::kBytes) return WordEnd(parts_.split, text, at);
  if (!words_begin_with_space_) return text.size();
  const std::string& space = parts_.space;
  while (text.substr(at).starts_with(space)) at += space.size();
  return std::min(text.find(space, at), text.size());
}

void BpeTokenizer::EncodeWord(std::string_view word, WordCache& cache, Ids& ids) const {
  if (const auto known = cache.Find(word); !known.empty()) {
    ids.insert(ids.end(), known.begin(), known.end());
    return;
  }
  Ids symbols;
  const auto whole = whole_.find(word);
  if (whole != whole_.end()) {
    symbols.push_back(whole->second);
  } else if (parts_.kind == BpeParts::Kind::kBytes) {
    symbols.reserve(word.size());
    for (const char byte : word) {
      const int32_t id = parts_.byte_ids[static_cast<unsigned char>(byte)];
      if (id >= 0) symbols.push_back(id);
    }
    bpe_.Apply(symbols);
  } else {
    std::string character;
    for (size_t at = 0; at < word.size();) {
      character = word.substr(at, ReadUtf8(word, at).bytes);
      at += character.size();
      if (const auto found = parts_.characters.find(character); found != parts_.characters.end()) {
        symbols.push_back(found->second);
        continue;
      }
      for (const char byte : character) {
        symbols.push_back(parts_.byte_ids[static_cast<unsigned char>(byte)]);
      }
    }
    bpe_.Apply(symbols);
  }
  cache.Put(word, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

Status BpeTokenizer::DecodeOne(int32_t id, std::string& text) const {
  if (id < 0 || id >= vocab()) {
    return InvalidArgument("token {}: the vocabulary has {}", id, vocab());
  }
  text += parts_.tokens[static_cast<size_t>(id)];
  return {};
}

// At a line end with a letter or digit behind it: there every rule begins a word, on one of its
// sides; nothing is composed with what stands before, and no token reaches over.
size_t BpeTokenizer::FindCut(std::string_view text, size_t from) const {
  if (!cuts_at_lines_ || parts_.kind != BpeParts::Kind::kBytes ||
      parts_.split == SplitRule::kNone || parts_.add_prefix_space) {
    return text.size();
  }
  for (size_t at = std::max<size_t>(from, 1); at < text.size(); ++at) {
    const char c = text[at];
    const bool digit = c >= '0' && c <= '9';
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || digit;
    if (!plain || text[at - 1] != '\n') continue;
    if (!CutsBeforeLineEnd(parts_.split, digit)) return at;
    if (at - 1 >= std::max<size_t>(from, 1)) return at - 1;
  }
  return text.size();
}

}  // namespace ds::token
