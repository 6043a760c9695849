#include "infer/text_score.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ds::infer {
namespace {

// Logits that are held at once, at least those of one window.
constexpr int64_t kLogits = int64_t{8} << 20;
constexpr int64_t kBatchTokens = 4096;

// Reads tokens [begin, begin + tokens); the predictions from position `first` on are new.
struct Window {
  int64_t begin, tokens, first;
};

class Windows {
 public:
  Windows(int64_t tokens, const ScoreOptions& options)
      : predictions_(tokens - 1), context_(options.context), stride_(options.stride) {}

  bool done() const { return done_ == predictions_; }
  Window Next() {
    if (done_ == 0) {
      done_ = std::min(context_, predictions_);
      return {0, done_, 0};
    }
    const int64_t fresh = std::min(stride_, predictions_ - done_);
    done_ += fresh;
    return {done_ - context_, context_, context_ - fresh};
  }

 private:
  const int64_t predictions_, context_, stride_;
  int64_t done_ = 0;  // predictions so far
};

// NaN where a logit is not finite.
double LogProbability(std::span<const float> logits, int32_t token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return static_cast<double>(logits[static_cast<size_t>(token)]) - largest - std::log(sum);
}

// Windows of one shape, run as one batch.
class Scorer {
 public:
  Scorer(model::Model& model, TaskPool& pool, std::span<const int32_t> tokens)
      : model_(model), pool_(pool), tokens_(tokens) {}

  Status Run(std::span<const Window> windows) {
    const Window& shape = windows.front();
    const int64_t fresh = shape.tokens - shape.first, vocab = model_.vocab();
    const auto count = static_cast<int64_t>(windows.size());
    ids_.clear();
    for (const Window& w : windows) {
      const auto read =
          tokens_.subspan(static_cast<size_t>(w.begin), static_cast<size_t>(w.tokens));
      ids_.insert(ids_.end(), read.begin(), read.end());
    }
    logits_.resize(static_cast<size_t>(count * fresh * vocab));
    scores_.resize(static_cast<size_t>(count * fresh));
    DS_TRY(model_.Logits({.batch = count, .tokens = shape.tokens, .ids = ids_.data()}, shape.first,
                         logits_.data()));
    pool_.Run(count * fresh, [&](int64_t row, int) {
      const Window& w = windows[static_cast<size_t>(row / fresh)];
      const int64_t target = w.begin + w.first + row % fresh + 1;
      const std::span<const float> logits(logits_.data() + row * vocab, static_cast<size_t>(vocab));
      scores_[static_cast<size_t>(row)] =
          LogProbability(logits, tokens_[static_cast<size_t>(target)]);
    });
    return {};
  }
  std::span<const double> scores() const { return scores_; }

 private:
  model::Model& model_;
  TaskPool& pool_;
  const std::span<const int32_t> tokens_;
  std::vector<int32_t> ids_;
  std::vector<float> logits_;
  std::vector<double> scores_;
};

}  // namespace

Result<ScoreOptions> ResolveScore(const ScoreOptions& options, const model::Model& model) {
  ScoreOptions resolved = options;
  if (options.context < 0 || options.context > model.context()) {
    return InvalidArgument("a context of {} tokens, the model has 1 to {}", options.context,
                           model.context());
  }
  if (resolved.context == 0) resolved.context = model.context();
  if (options.stride < 0 || options.stride > resolved.context) {
    return InvalidArgument("a stride of {} tokens, expected 1 to the context, {}", options.stride,
                           resolved.context);
  }
  if (resolved.stride == 0) resolved.stride = std::max<int64_t>(1, resolved.context / 2);
  return resolved;
}

Status ScoreText(model::Model& model, TaskPool& pool, std::span<const int32_t> tokens,
                 const ScoreOptions& options, ScoreCallback callback) {
  DS_ASSIGN(const ScoreOptions resolved, ResolveScore(options, model));
  if (tokens.size() < 2) {
    return InvalidArgument("{} tokens, at least 2 are needed: the first is not predicted",
                           tokens.size());
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= model.vocab()) {
      return InvalidArgument("token {} is {}, the vocabulary has {}", i, tokens[i], model.vocab());
    }
  }
  const int64_t rows = resolved.stride * model.vocab();
  const int64_t most =
      std::max<int64_t>(1, std::min(kLogits / rows, kBatchTokens / resolved.context));
  Scorer scorer(model, pool, tokens);
  Windows windows(static_cast<int64_t>(tokens.size()), resolved);
  std::vector<Window> batch;
  int64_t token = 1;
  const auto run = [&]() -> Result<bool> {
    DS_TRY(scorer.Run(batch));
    batch.clear();
    for (const double score : scorer.scores()) {
      if (!std::isfinite(score)) {
        return InvalidState("the log-probability of token {} is {}: the model is broken", token,
                            score);
      }
      ++token;
      if (!callback(score)) return false;
    }
    return true;
  };
  while (!windows.done()) {
    const Window next = windows.Next();
    const bool fits = batch.empty() ||
                      (batch.front().tokens == next.tokens && batch.front().first == next.first &&
                       static_cast<int64_t>(batch.size()) < most);
    if (!fits) {
      DS_ASSIGN(const bool more, run());
      if (!more) return {};
    }
    batch.push_back(next);
  }
  return run().status();
}

}  // namespace ds::infer
