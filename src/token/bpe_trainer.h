// Byte-level byte-pair encodings learned from texts: the most frequent pair becomes a token, again
// and again; of pairs that are as frequent, the one of the lower ids. The same texts give the same
// tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "token/added_tokens.h"
#include "token/bpe_tokenizer.h"

namespace ds::token {

class BpeTrainer {
 public:
  // For a tokenizer of `vocab` ids: 256 bytes, what is learned, and special tokens, which no text
  // teaches: a text is cut where one stands, and each of `special` has an id behind that of
  // <|endoftext|>, which is one without being named.
  static Result<BpeTrainer> Create(SplitRule rule, int64_t vocab,
                                   const std::vector<std::string>& special);

  // Counts the words of a text. Memory grows with the number of different words.
  void Add(std::string_view text);
  // The tokenizer; of fewer ids where no pair is left that stands twice. `progress` is called with
  // the number of ids so far; false ends it with kCancelled. Fails where a special token was
  // learned, too.
  Result<BpeParts> Train(FunctionRef<bool(int64_t)> progress) const;

 private:
  BpeTrainer(SplitRule rule, int64_t vocab, TokenMatcher special)
      : rule_(rule), vocab_(vocab), special_(std::move(special)) {}

  SplitRule rule_;
  int64_t vocab_;
  TokenMatcher special_;
  std::unordered_map<std::string, int64_t> words_;
};

}  // namespace ds::token
