#include "data/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/rng.h"

namespace ds::data {
namespace {

// Keep the draws apart from others of the same seed; the step, or the epoch, takes the lower bits.
constexpr uint64_t kStream = uint64_t{0x5A} << 56, kMixStream = uint64_t{0x5B} << 56,
                   kDealStream = uint64_t{0x5C} << 56;
// From sample to sample, the golden section of the circle: of all steps the one whose places lie
// most evenly, however many there are (Knuth, "The Art of Computer Programming" 3, section 6.4).
constexpr uint64_t kGoldenSection = 0x9E3779B97F4A7C15;

// The place of i in an order of 0 ... n - 1 that the seed and the stream choose, without a table:
// rounds of a Feistel network permute the numbers of an even count of bits, and who falls out of
// the range goes on until he is back in it (Black and Rogaway, "Ciphers with Arbitrary Finite
// Domains", 2002). The range is at least a quarter of those numbers.
uint64_t Permuted(uint64_t seed, uint64_t stream, uint64_t i, uint64_t n) {
  constexpr uint64_t kRounds = 6;
  const int half = (std::bit_width(n - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = i >> half, right = i & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t bits = RandomBits(seed, stream, right << 8 | round)[0];
      left = std::exchange(right, left ^ (bits & mask));
    }
    i = left << half | right;
  } while (i >= n);
  return i;
}

uint64_t WindowsOf(std::span<const Windows* const> texts) {
  uint64_t windows = 0;
  for (const Windows* text : texts) windows += static_cast<uint64_t>(text->size());
  return windows;
}

}  // namespace

Result<Sampler> Sampler::Create(std::span<const WeightedWindows> texts, Order order, int64_t batch,
                                uint64_t seed) {
  if (texts.empty()) return InvalidArgument("no texts to draw from");
  if (batch < 1) return InvalidArgument("steps of {} samples, expected 1 or more", batch);
  Sampler sampler(order, batch, seed);
  double sum = 0, end = 0;
  for (const auto& [windows, weight] : texts) {
    if ((order == Order::kDrawn ? windows->places() : windows->size()) == 0) {
      return InvalidArgument("a text of {} tokens has no window of {} to learn from",
                             windows->text().size(), windows->tokens());
    }
    if (windows->tokens() != texts.front().windows->tokens()) {
      return InvalidArgument("windows of {} and of {} tokens, expected one length",
                             texts.front().windows->tokens(), windows->tokens());
    }
    if (!(std::isfinite(weight) && weight > 0)) {
      return InvalidArgument("a text of weight {}, expected a finite number above 0", weight);
    }
    sum += weight;
  }
  if (!std::isfinite(sum)) return InvalidArgument("the weights of the texts add up to {}", sum);
  for (const auto& [windows, weight] : texts) {
    end += weight / sum;
    sampler.texts_.push_back(windows);
    sampler.ends_.push_back(end < 1 ? static_cast<uint64_t>(end * 0x1p64) : UINT64_MAX);
  }
  const auto bits = RandomBits(seed, kMixStream, 0);
  sampler.first_ = uint64_t{bits[0]} << 32 | bits[1];
  return sampler;
}

bool Sampler::packed() const {
  return std::any_of(texts_.begin(), texts_.end(), [](const Windows* w) { return w->packed(); });
}

Sampler::Sample Sampler::SampleOf(int64_t step, int64_t index) const {
  const auto sample =
      static_cast<uint64_t>(step) * static_cast<uint64_t>(batch_) + static_cast<uint64_t>(index);
  if (order_ == Order::kDealt) return Deal(sample);
  const uint64_t place = first_ + sample * kGoldenSection;
  size_t text = 0;
  while (text + 1 < ends_.size() && place >= ends_[text]) ++text;
  const Windows& windows = *texts_[text];
  const uint64_t drawn =
      RandomBelow(seed_, kStream + static_cast<uint64_t>(step), static_cast<uint64_t>(index),
                  static_cast<uint64_t>(windows.places()));
  return {text, windows.at_place(static_cast<int64_t>(drawn))};
}

Sampler::Sample Sampler::Deal(uint64_t sample) const {
  const uint64_t n = WindowsOf(texts_);
  auto window = static_cast<int64_t>(Permuted(seed_, kDealStream + sample / n, sample % n, n));
  size_t text = 0;
  while (window >= texts_[text]->size()) window -= texts_[text++]->size();
  return {text, (*texts_[text])[window]};
}

void Sampler::Fill(int64_t step, int64_t first, int64_t count, const WindowRow& rows) const {
  for (int64_t i = 0; i < count; ++i) {
    const Sample sample = SampleOf(step, first + i);
    const int64_t at = i * tokens();
    texts_[sample.text]->Fill(sample.window,
                              {rows.ids + at, rows.targets + at, rows.first_keys + at});
  }
}

int64_t Sampler::Learned(int64_t step) const {
  int64_t learned = 0;
  for (int64_t i = 0; i < batch_; ++i) {
    const Sample sample = SampleOf(step, i);
    learned += texts_[sample.text]->Learned(sample.window);
  }
  return learned;
}

}  // namespace ds::data
