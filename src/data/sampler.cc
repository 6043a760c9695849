#include "data/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/rng.h"

namespace ds::data {
namespace {

// Keep the draws apart from others of the same seed; the step takes the lower bits.
constexpr uint64_t kStream = uint64_t{0x5A} << 56, kMixStream = uint64_t{0x5B} << 56;
// From sample to sample, the golden section of the circle: of all steps the one whose places lie
// most evenly, however many there are (Knuth, "The Art of Computer Programming" 3, section 6.4).
constexpr uint64_t kGoldenSection = 0x9E3779B97F4A7C15;
// Windows that a sample tries until one has something to learn. Their draws are apart from those of
// other samples, of which a step has fewer than two to the shift.
constexpr uint64_t kDraws = 64, kDrawShift = 48;

// Whether anything is learned of them.
bool IsLearned(TokenSpan targets) {
  return targets.Typed([n = targets.size()](const auto* ids) {
    return std::any_of(ids, ids + n, TokenSpan::IsLearned);
  });
}

}  // namespace

Result<Sampler> Sampler::Create(TokenSpan text, int64_t tokens, uint64_t seed) {
  return Create(std::array{WeightedText{text}}, 1, tokens, seed);
}

Result<Sampler> Sampler::Create(std::span<const WeightedText> texts, int64_t batch, int64_t tokens,
                                uint64_t seed) {
  if (texts.empty()) return InvalidArgument("no texts to draw from");
  if (batch < 1) return InvalidArgument("steps of {} samples, expected 1 or more", batch);
  Sampler sampler(batch, tokens, seed);
  double sum = 0, end = 0;
  for (const auto& [text, weight] : texts) {
    if (tokens < 1 || static_cast<int64_t>(text.size()) < tokens + 1) {
      return InvalidArgument("a text of {} tokens has no window of {} and one after it",
                             text.size(), tokens);
    }
    if (!(std::isfinite(weight) && weight > 0)) {
      return InvalidArgument("a text of weight {}, expected a finite number above 0", weight);
    }
    sum += weight;
  }
  if (!std::isfinite(sum)) return InvalidArgument("the weights of the texts add up to {}", sum);
  for (const auto& [text, weight] : texts) {
    end += weight / sum;
    sampler.texts_.push_back(text);
    sampler.ends_.push_back(end < 1 ? static_cast<uint64_t>(end * 0x1p64) : UINT64_MAX);
  }
  const auto bits = RandomBits(seed, kMixStream, 0);
  sampler.first_ = uint64_t{bits[0]} << 32 | bits[1];
  return sampler;
}

size_t Sampler::TextOf(int64_t step, int64_t index) const {
  const auto sample =
      static_cast<uint64_t>(step) * static_cast<uint64_t>(batch_) + static_cast<uint64_t>(index);
  const uint64_t place = first_ + sample * kGoldenSection;
  size_t text = 0;
  while (text + 1 < ends_.size() && place >= ends_[text]) ++text;
  return text;
}

int64_t Sampler::WindowStart(int64_t step, int64_t index) const {
  const TokenSpan text = texts_[TextOf(step, index)];
  const uint64_t places = text.size() - static_cast<uint64_t>(tokens_);
  uint64_t start = 0;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    start = RandomBelow(seed_, kStream + static_cast<uint64_t>(step),
                        static_cast<uint64_t>(index) + (draw << kDrawShift), places);
    if (IsLearned(text.subspan(start + 1, static_cast<size_t>(tokens_)))) break;
  }
  return static_cast<int64_t>(start);
}

void Sampler::Fill(int64_t step, int64_t first, int64_t count, int32_t* ids,
                   int32_t* targets) const {
  for (int64_t i = 0; i < count; ++i) {
    FillWindow(texts_[TextOf(step, first + i)], WindowStart(step, first + i), tokens_,
               ids + i * tokens_, targets + i * tokens_);
  }
}

int64_t Sampler::Learned(int64_t step) const {
  int64_t learned = 0;
  for (int64_t i = 0; i < batch_; ++i) {
    const auto start = static_cast<size_t>(WindowStart(step, i));
    learned += texts_[TextOf(step, i)].subspan(start + 1, static_cast<size_t>(tokens_)).learned();
  }
  return learned;
}

void FillWindow(TokenSpan text, int64_t start, int64_t tokens, int32_t* ids, int32_t* targets) {
  text.Typed([&](const auto* all) {
    for (int64_t i = 0; i < tokens; ++i) {
      const uint32_t id = all[start + i], next = all[start + i + 1];
      ids[i] = static_cast<int32_t>(id & ~TokenSpan::kNoLoss);
      targets[i] = TokenSpan::IsLearned(next) ? static_cast<int32_t>(next) : -1;
    }
  });
}

std::vector<int64_t> EvenWindows(TokenSpan text, int64_t tokens, int64_t count) {
  const int64_t window = tokens + 1, most = static_cast<int64_t>(text.size()) / window;
  // The numbers of `n` among `all`, in order.
  const auto spread = [](int64_t n, int64_t all) {
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < n; ++i) numbers.push_back(n == 1 ? 0 : i * (all - 1) / (n - 1));
    return numbers;
  };
  const int64_t places = static_cast<int64_t>(text.size()) - window + 1;
  const auto teaches_nothing = [&](int64_t start) {
    return !IsLearned(text.subspan(static_cast<size_t>(start) + 1, static_cast<size_t>(tokens)));
  };
  std::vector<int64_t> starts = spread(std::min(count, most), places);
  if (std::none_of(starts.begin(), starts.end(), teaches_nothing)) return starts;
  std::vector<int64_t> all = spread(most, places);
  std::erase_if(all, teaches_nothing);
  starts.clear();
  for (const int64_t i : spread(std::min(count, std::ssize(all)), std::ssize(all))) {
    starts.push_back(all[static_cast<size_t>(i)]);
  }
  return starts;
}

}  // namespace ds::data
