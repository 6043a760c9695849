// Which windows of which text a step sees: a pure function of (seed, step, index in the global
// batch). There is no state, so nothing is saved, and who computes a sample (rank, accumulation
// step) makes no difference to what it is.
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
  // Of several texts, for steps of `batch` samples. Of the first n samples of a run a text has its
  // part of n, and at most a few more or less: they are dealt out evenly, not drawn.
  static Result<Sampler> Create(std::span<const WeightedText> texts, int64_t batch, int64_t tokens,
                                uint64_t seed);

  int64_t tokens() const { return tokens_; }
  // Which text sample `index` of the global batch of `step` is of, and where in it it begins. Of
  // conversations it begins where there is an answer before its end, if some tries find such a
  // place: a window of questions alone would teach nothing.
  size_t TextOf(int64_t step, int64_t index) const;
  int64_t WindowStart(int64_t step, int64_t index) const;
  // Samples first ... first + count - 1 of the step: ids and targets [count, tokens]. A micro-batch
  // of b on rank r of w in accumulation step a has first = (a * w + r) * b.
  void Fill(int64_t step, int64_t first, int64_t count, int32_t* ids, int32_t* targets) const;
  // Targets of the global batch of `step` that are learned: what its loss and gradients are the
  // mean over. Every rank can say it, for what it is of follows from the step alone.
  int64_t Learned(int64_t step) const;

 private:
  Sampler(int64_t batch, int64_t tokens, uint64_t seed)
      : batch_(batch), tokens_(tokens), seed_(seed) {}

  std::vector<TokenSpan> texts_;
  // Where on a circle of 2^64 places the part of each text ends; that of the last is the whole.
  std::vector<uint64_t> ends_;
  uint64_t first_ = 0;  // the place of the first sample of the run
  int64_t batch_, tokens_;
  uint64_t seed_;
};

// ids [tokens] and targets [tokens] (the next token, -1 where it has kNoLoss) of the window that
// begins at `start`.
void FillWindow(TokenSpan text, int64_t start, int64_t tokens, int32_t* ids, int32_t* targets);

// Starts of at most `count` windows of `tokens` + 1, evenly spaced from the first token to the
// last; fewer when they would overlap. Where some would have nothing to learn, they are spaced
// evenly among those that have. Always the same, so losses can be compared.
std::vector<int64_t> EvenWindows(TokenSpan text, int64_t tokens, int64_t count);

}  // namespace ds::data
