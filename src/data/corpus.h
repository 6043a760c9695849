// What a run trains on: a text as tokens, mapped where it lies so on the disk and in memory where
// it does not, cut into a part for training and a part for validation.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/task_pool.h"
#include "data/documents.h"
#include "data/token_file.h"
#include "data/windows.h"
#include "token/tokenizer.h"

namespace ds::data {

// Where a text lies and what it is.
struct Source {
  std::string path;
  std::optional<TextFormat> text;  // absent: a file of token ids
  std::string field = "text";      // kJsonLines

  // `format` is "auto", "text", "jsonl", "chat" or "tokens". By itself a folder is a folder of
  // texts, *.jsonl is JSON lines, *.bin and *.idx are token ids, and all else is a text.
  static Result<Source> Find(const std::string& path, std::string_view format, std::string field);
};

class Corpus {
 public:
  // For sequences of `tokens`. Validation is the last tenth, and at least a sequence and the token
  // after it; training is what is before it, at least as much. Of conversations they are whole
  // ones, at least one each. Every id is below the vocabulary. A file of ids needs no tokenizer,
  // which may be null then.
  static Result<Corpus> Open(const Source& source, const token::Tokenizer* tokenizer, int64_t vocab,
                             int64_t tokens, TaskPool& pool);

  TokenSpan all() const;
  const Windows& train() const { return train_; }
  const Windows& validation() const { return validation_; }
  // Of all(), those that are learned: of conversations the answers, else all.
  int64_t learned() const { return learned_; }
  bool conversations() const { return train_.packed(); }
  // Conversations that are left out, for they have no answer.
  int64_t unanswered() const { return unanswered_; }
  const std::string& path() const { return path_; }

 private:
  explicit Corpus(std::string path) : path_(std::move(path)) {}
  Status Encode(const Source& source, const token::Tokenizer& tokenizer, TaskPool& pool);
  // Where validation begins.
  Result<size_t> FindSplit(int64_t tokens, const char* unit) const;

  std::string path_;
  std::variant<std::vector<uint16_t>, std::vector<uint32_t>, MappedFile, TokenFile> tokens_;
  Windows train_, validation_;  // of all()
  int64_t learned_ = 0, unanswered_ = 0;
};

// Of the tokens that are learned, one by one, in nats a token: the loss of the best model that
// knows no context, on texts that are drawn from by their weights, which add up to 1.
double UnigramEntropy(std::span<const WeightedText> texts, int64_t vocab);

}  // namespace ds::data
