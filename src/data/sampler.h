// Which windows of which text a step sees: a pure function of (seed, step, index in the global
// batch). There is no state, so nothing is saved, and who computes a sample (rank, accumulation
// step) makes no difference to what it is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "data/windows.h"

namespace ds::data {

enum class Order : uint8_t {
  // Each sample for itself, from all places of the texts, of each text as often as its weight says.
  kDrawn,
  // All windows of all texts, each once an epoch, in an order of its own; weights say nothing.
  kDealt,
};

class Sampler {
 public:
  // For steps of `batch` samples from windows that outlive the sampler, all of as many tokens.
  // Drawn, of the first n samples of a run a text has its part of n, and at most a few more or
  // less: what is drawn from is dealt out evenly.
  static Result<Sampler> Create(std::span<const WeightedWindows> texts, Order order, int64_t batch,
                                uint64_t seed);

  int64_t tokens() const { return texts_.front()->tokens(); }
  // Whether some text has windows in which not all is seen.
  bool packed() const;

  struct Sample {
    size_t text = 0;
    Window window;
  };
  // Sample `index` of the global batch of `step`.
  Sample SampleOf(int64_t step, int64_t index) const;
  // Samples first ... first + count - 1 of the step: arrays [count, tokens]. A micro-batch of b on
  // rank r of w in accumulation step a has first = (a * w + r) * b.
  void Fill(int64_t step, int64_t first, int64_t count, const WindowRow& rows) const;
  // Targets of the global batch of `step` that are learned: what its loss and gradients are the
  // mean over. Every rank can say it, for what it is of follows from the step alone.
  int64_t Learned(int64_t step) const;

 private:
  Sampler(Order order, int64_t batch, uint64_t seed) : order_(order), batch_(batch), seed_(seed) {}
  Sample Deal(uint64_t sample) const;

  Order order_;
  std::vector<const Windows*> texts_;
  // Where on a circle of 2^64 places the part of each text ends; that of the last is the whole.
  std::vector<uint64_t> ends_;
  uint64_t first_ = 0;  // the place of the first sample of the run
  int64_t batch_;
  uint64_t seed_;
};

}  // namespace ds::data
