// Which windows of a text a step sees: a pure function of (seed, step, index in the global batch).
// There is no state, so nothing is saved, and who computes a sample (rank, accumulation step) makes
// no difference to what it is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "data/tokens.h"

namespace ds::data {

class Sampler {
 public:
  // Windows of `tokens` and the one token after them, of `text` that outlives the sampler.
  static Result<Sampler> Create(TokenSpan text, int64_t tokens, uint64_t seed);

  int64_t tokens() const { return tokens_; }
  // Where in the text sample `index` of the global batch of `step` begins.
  int64_t WindowStart(int64_t step, int64_t index) const;
  // Samples first ... first + count - 1 of the step: ids and targets [count, tokens]. A micro-batch
  // of b on rank r of w in accumulation step a has first = (a * w + r) * b.
  void Fill(int64_t step, int64_t first, int64_t count, int32_t* ids, int32_t* targets) const;

 private:
  Sampler(TokenSpan text, int64_t tokens, uint64_t seed)
      : text_(text), tokens_(tokens), seed_(seed) {}

  TokenSpan text_;
  int64_t tokens_;
  uint64_t seed_;
};

// ids [tokens] and targets [tokens] (the next token, -1 where it has kNoLoss) of the window that
// begins at `start`.
void FillWindow(TokenSpan text, int64_t start, int64_t tokens, int32_t* ids, int32_t* targets);

// Starts of at most `count` windows of `tokens` + 1, evenly spaced from the first token to the
// last; fewer when they would overlap. Always the same, so losses can be compared.
std::vector<int64_t> EvenWindows(int64_t text_tokens, int64_t tokens, int64_t count);

}  // namespace ds::data
