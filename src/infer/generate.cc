#include "infer/generate.h"

#include <algorithm>
#include <vector>

namespace ds::infer {

Status Generate(model::Model& model, std::span<const int32_t> prompt,
                const GenerateOptions& options, TokenCallback callback) {
  DS_TRY(options.sampling.Check());
  if (prompt.empty()) return InvalidArgument("the prompt is empty, expected at least one token");
  if (options.tokens < 0) {
    return InvalidArgument("{} tokens to generate, expected 0 or more", options.tokens);
  }
  if (options.window < 0 || options.window > model.context()) {
    return InvalidArgument("a window of {} tokens, expected 0 to {}", options.window,
                           model.context());
  }
  const auto most = static_cast<size_t>(options.window > 0 ? options.window : model.context());
  std::vector<float> logits(static_cast<size_t>(model.vocab()));
  TokenSampler sampler(options.sampling);

  // What repetition is judged by: all of the prompt, and what was added to it.
  std::vector<int32_t> seen;
  const bool penalises = options.sampling.repetition_penalty != 1;
  if (penalises) seen.assign(prompt.begin(), prompt.end());

  std::vector<int32_t> window;  // what the model has read since its last Prefill
  window.reserve(most);
  const auto read = prompt.last(std::min(prompt.size(), most));
  window.assign(read.begin(), read.end());
  if (options.tokens > 0) DS_TRY(model.Prefill(window, logits.data()));
  for (int64_t i = 0; i < options.tokens; ++i) {
    DS_ASSIGN(const int32_t token, sampler.Sample(logits, static_cast<uint64_t>(i), seen));
    if (penalises) seen.push_back(token);
    if (!callback(token) || i + 1 == options.tokens) break;
    if (window.size() < most) {
      window.push_back(token);
      DS_TRY(model.Decode(token, logits.data()));
    } else {
      window.erase(window.begin(), window.end() - static_cast<ptrdiff_t>(most / 2));
      window.push_back(token);
      DS_TRY(model.Prefill(window, logits.data()));
    }
  }
  return {};
}

}  // namespace ds::infer
