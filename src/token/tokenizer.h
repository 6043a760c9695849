// A text as ids and back. What a tokenizer is made of (bytes, characters, byte-pair encoding) is
// the business of those who implement it; from here on it is a vocabulary and two functions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/folder_change.h"
#include "base/status.h"
#include "token/word_cache.h"

namespace ds::token {

using Ids = std::vector<int32_t>;

// One of the files that make up a tokenizer in a model folder.
struct TokenizerFile {
  std::string name, text;
};

// Const calls may be made from several threads at once, each with a cache of its own.
class Tokenizer {
 public:
  // "bytes", or a folder that holds a tokenizer, or one of its files: tokenizer.json (Hugging
  // Face), *.tiktoken and tokenizer.model (tiktoken), characters.json (written by `dspeed train`).
  // gpt2:FILE, llama3:FILE and qwen2:FILE name the splitting rule of a tiktoken file, which does
  // not say it. "chars" is made from a text: see CharTokenizer.
  static Result<std::unique_ptr<Tokenizer>> Open(const std::string& name);

  virtual ~Tokenizer() = default;

  // Ids are below it. Not all of them need stand for something.
  virtual int64_t vocab() const = 0;
  // "byte-level BPE (llama3)", for people.
  virtual std::string description() const = 0;
  // What a unit of the loss is called: "byte", "character", "token".
  virtual const char* unit() const { return "token"; }

  // Appends the ids of a text; those added around a text are not among them. All but bytes refuse
  // a text that is not UTF-8. On failure `ids` has what came before.
  virtual Status Encode(std::string_view text, WordCache& cache, Ids& ids) const = 0;
  // The same of a text that goes on where another ends: what a tokenizer puts before the first word
  // (the space of SentencePiece's) is not put there.
  virtual Status EncodeMore(std::string_view text, WordCache& cache, Ids& ids) const {
    return Encode(text, cache, ids);
  }
  // Appends the text of one id. A part of a character is a part of its bytes.
  virtual Status DecodeOne(int32_t id, std::string& text) const = 0;

  // Ids that the tokenizer puts before and behind a text that is to be read as a whole.
  virtual std::span<const int32_t> before() const { return {}; }
  virtual std::span<const int32_t> behind() const { return {}; }
  // The id that ends a document.
  virtual std::optional<int32_t> end_of_text() const { return std::nullopt; }
  virtual bool IsSpecial(int32_t) const { return false; }
  // Spaces at the start of a decoded text that were never in it.
  virtual size_t leading_spaces() const { return 0; }

  // Where `text` may be cut in two, at `from` or the first place after it, so that the ids of the
  // parts are those of the whole; text.size() where there is none.
  virtual size_t FindCut(std::string_view text, size_t from) const = 0;

  // What Open() of a folder with these files makes this tokenizer of.
  const std::vector<TokenizerFile>& files() const { return files_; }
  // One more, or another in place of the one of its name.
  void Carry(TokenizerFile file);

  // The above, put together.
  Result<Ids> Encode(std::string_view text, bool whole = false) const;
  Result<std::string> Decode(std::span<const int32_t> ids, bool with_special = true) const;
  // Each file is atomic.
  Status Save(const std::string& folder) const;
  Status AddTo(FolderChange& change, const std::string& folder) const;

 private:
  std::vector<TokenizerFile> files_;
};

// Of the text of a tokenizer.json, which `what` names in errors, and of what lies beside it.
Result<std::unique_ptr<Tokenizer>> MakeJsonTokenizer(std::string text, std::string_view what,
                                                     std::vector<TokenizerFile> companions);

// The files of a folder that belong to a tokenizer, by their names.
std::vector<std::string> TokenizerFilesOf(const std::string& folder);

// Hugging Face's file of a tokenizer, and that of how conversations are laid out with it, as a
// template that transformers runs.
inline constexpr char kTokenizerJson[] = "tokenizer.json";
inline constexpr char kChatTemplate[] = "chat_template.jinja";
// Whether a tokenizer carries one, in that file or in its configuration.
bool HasChatTemplate(const Tokenizer& tokenizer);

// Files that lie beside tokenizer.json and are carried from model to model as they are.
std::vector<TokenizerFile> ReadCompanions(const std::string& folder);

}  // namespace ds::token
