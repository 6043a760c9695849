// Byte-level byte-pair encodings learned from texts: the most frequent pair becomes a token, again
// and again; of pairs that are as frequent, the one of the lower ids. The same texts give the same
// tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/function_ref.h"
#include "base/status.h"
#include "token/bpe_tokenizer.h"

namespace ds::token {

class BpeTrainer {
 public:
  explicit BpeTrainer(SplitRule rule) : rule_(rule) {}

  // Counts the words of a text. Memory grows with the number of different words.
  void Add(std::string_view text);
  // The tokenizer of `vocab` ids: 256 bytes, what was learned, and <|endoftext|>. Fewer where no
  // pair is left that stands twice. `progress` is called with the number of ids so far; false ends
  // it with kCancelled.
  Result<BpeParts> Train(int64_t vocab, FunctionRef<bool(int64_t)> progress) const;

 private:
  const SplitRule rule_;
  std::unordered_map<std::string, int64_t> words_;
};

}  // namespace ds::token
