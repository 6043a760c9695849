#include "data/sampler.h"

#include <algorithm>

#include "base/rng.h"

namespace ds::data {
namespace {

// Keeps the draws apart from others of the same seed; the step takes the lower bits.
constexpr uint64_t kStream = uint64_t{0x5A} << 56;

}  // namespace

Result<Sampler> Sampler::Create(TokenSpan text, int64_t tokens, uint64_t seed) {
  if (tokens < 1 || static_cast<int64_t>(text.size()) < tokens + 1) {
    return InvalidArgument("a text of {} tokens has no window of {} and one after it", text.size(),
                           tokens);
  }
  return Sampler(text, tokens, seed);
}

int64_t Sampler::WindowStart(int64_t step, int64_t index) const {
  const uint64_t places = text_.size() - static_cast<uint64_t>(tokens_);
  return static_cast<int64_t>(RandomBelow(seed_, kStream + static_cast<uint64_t>(step),
                                          static_cast<uint64_t>(index), places));
}

void Sampler::Fill(int64_t step, int64_t first, int64_t count, int32_t* ids,
                   int32_t* targets) const {
  for (int64_t i = 0; i < count; ++i) {
    FillWindow(text_, WindowStart(step, first + i), tokens_, ids + i * tokens_,
               targets + i * tokens_);
  }
}

void FillWindow(TokenSpan text, int64_t start, int64_t tokens, int32_t* ids, int32_t* targets) {
  text.Typed([&](const auto* all) {
    for (int64_t i = 0; i < tokens; ++i) {
      const uint32_t id = all[start + i], next = all[start + i + 1];
      ids[i] = static_cast<int32_t>(id & ~TokenSpan::kNoLoss);
      targets[i] = (next & TokenSpan::kNoLoss) != 0 ? -1 : static_cast<int32_t>(next);
    }
  });
}

std::vector<int64_t> EvenWindows(int64_t text_tokens, int64_t tokens, int64_t count) {
  const int64_t window = tokens + 1;
  const int64_t n = std::min(count, text_tokens / window);
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < n; ++i) {
    starts.push_back(n == 1 ? 0 : i * (text_tokens - window) / (n - 1));
  }
  return starts;
}

}  // namespace ds::data
