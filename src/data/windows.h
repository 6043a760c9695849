// A text cut into the sequences that a model reads: at most so many tokens, each with the one that
// follows it as its target.
//
// A plain text is one run of tokens. Its windows lie one behind the other, so that every token but
// the first is a target once. Conversations are read whole: a window begins where one begins, holds
// as many as fit, and no token sees another conversation than its own. One that is longer than a
// window goes on in the next, at whose begin others may follow it.
//
//   plain          [a b c d e f g h][i j k l m n o p][q r s .
//   conversations  [A a a a B b b .][C c c c c c c c][c c D d d . . .]      . is not learned
#pragma once

#include <cstdint>
#include <vector>

#include "data/tokens.h"

namespace ds::data {

// Reads tokens [begin, begin + tokens) of a text; the targets are those one further on.
struct Window {
  int64_t begin = 0, tokens = 0;

  bool operator==(const Window&) const = default;
};

// A batch row of `tokens` places, each array that long.
struct WindowRow {
  int32_t* ids;
  int32_t* targets;     // -1: nothing is learned there
  int32_t* first_keys;  // the first place that each sees (model::TokenBatch)
};

class Windows {
 public:
  Windows() = default;
  // Windows of at most `tokens` (1 or more), of a text that outlives them. Those of conversations
  // in which nothing is learned are left out.
  Windows(TokenSpan text, int64_t tokens);

  const TokenSpan& text() const { return text_; }
  int64_t tokens() const { return tokens_; }
  // Of conversations. Only there do first keys say more than that all is seen.
  bool packed() const { return packed_; }
  // Conversations that are longer than a window.
  int64_t cut() const { return cut_; }

  int64_t size() const;
  Window operator[](int64_t i) const;

  // What a run of steps draws from: of conversations as above, of a plain text a whole window at
  // each of its places.
  int64_t places() const;
  Window at_place(int64_t i) const;

  // At most `count` windows, evenly spaced from the first token to the last and without overlap.
  // Always the same, so that losses can be compared.
  std::vector<Window> Even(int64_t count) const;

  // What is behind the window's end sees nothing but itself, and is not learned.
  void Fill(Window window, const WindowRow& row) const;
  // How many targets Fill() gives.
  int64_t Learned(Window window) const;

 private:
  void Pack();

  TokenSpan text_;
  int64_t tokens_ = 1;
  bool packed_ = false;
  std::vector<Window> packs_;  // of conversations
  int64_t cut_ = 0;
};

// The windows of one of several texts that samples are of.
struct WeightedWindows {
  const Windows* windows = nullptr;
  double weight = 1;  // above 0; what counts is its part of the sum of all
};

}  // namespace ds::data
