// Byte-pair encoding as the models of Hugging Face have it: added tokens, then normalization, then
// words, then merges. Two kinds: over bytes (GPT-2, Llama 3, Qwen), and over characters with bytes
// for those that have no token (Llama 2).
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "token/added_tokens.h"
#include "token/bpe.h"
#include "token/split.h"
#include "token/tokenizer.h"

namespace ds::token {

// What a file says, checked by those who read it.
struct BpeParts {
  enum class Kind { kBytes, kCharacters };
  Kind kind = Kind::kBytes;
  std::vector<std::string> tokens;  // by id, the bytes that each stands for; "" stands for nothing
  // kBytes: ids of tokens that a file spells as they are, since they are no bytes in its alphabet
  // (ToByteAlphabet), or nothing.
  std::set<int32_t> verbatim;
  std::vector<Merge> merges;
  std::array<int32_t, 256> byte_ids;  // of single bytes; -1: no such token, the byte is dropped
  std::vector<AddedToken> added;
  SplitRule split = SplitRule::kNone;
  bool add_prefix_space = false;  // kBytes: a space before a text that has none
  bool ignore_merges = false;     // a word that is a token is that token
  bool nfc = false;
  // kCharacters: tokens as they are looked up, and what is put before a text and for a space. As
  // normalization: before all texts but empty ones, and added tokens are looked for in what it
  // gives. With `metaspace`, behind that: before a piece between them that does not begin with a
  // space.
  std::unordered_map<std::string, int32_t> characters;
  std::string prepend, space;
  bool metaspace = false;
  bool begins_behind_added = true;  // what follows an added token begins as a text does
  size_t leading_spaces = 0;
  Ids before, behind;
  std::optional<int32_t> end_of_text;
  std::vector<TokenizerFile> files;
};

class BpeTokenizer final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> Create(BpeParts parts);

  int64_t vocab() const override { return static_cast<int64_t>(parts_.tokens.size()); }
  std::string description() const override;
  using Tokenizer::Encode;
  Status Encode(std::string_view text, WordCache& cache, Ids& ids) const override;
  Status EncodeMore(std::string_view text, WordCache& cache, Ids& ids) const override;
  Status DecodeOne(int32_t id, std::string& text) const override;
  std::span<const int32_t> before() const override { return parts_.before; }
  std::span<const int32_t> behind() const override { return parts_.behind; }
  std::optional<int32_t> end_of_text() const override { return parts_.end_of_text; }
  bool IsSpecial(int32_t id) const override;
  size_t leading_spaces() const override { return parts_.leading_spaces; }
  size_t FindCut(std::string_view text, size_t from) const override;

 private:
  BpeTokenizer(BpeParts parts, TokenMatcher raw, TokenMatcher normalized);

  // `begins`: the text begins there, or what is before it is an added token that counts as that.
  Status EncodeText(std::string_view text, bool begins, WordCache& cache, Ids& ids) const;
  // Whether that is so of a piece between added tokens of the text.
  bool BeginsAt(std::string_view piece, std::string_view text, bool begins) const {
    return piece.data() == text.data() ? begins : parts_.begins_behind_added;
  }
  // A text without tokens that are looked for before normalization.
  Status EncodeStretch(std::string_view text, bool begins, WordCache& cache, Ids& ids) const;
  // A normalized text without added tokens.
  void EncodePiece(std::string_view text, bool begins, WordCache& cache, Ids& ids) const;
  size_t EndOfWord(std::string_view text, size_t at) const;
  void EncodeWord(std::string_view word, WordCache& cache, Ids& ids) const;

  BpeParts parts_;
  const TokenMatcher raw_, normalized_;
  const Bpe bpe_;
  std::unordered_map<std::string_view, int32_t> whole_;  // with ignore_merges: into parts_.tokens
  std::vector<bool> special_;                            // by id
  bool words_begin_with_space_ = false;                  // kCharacters: no merge reaches over one
  bool cuts_at_lines_ = true;                            // no added token has to do with line ends
};

}  // namespace ds::token
