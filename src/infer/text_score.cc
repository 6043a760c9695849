#include "infer/text_score.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ds::infer {
namespace {

constexpr int64_t kBatchTokens = 4096;  // that are read at once, at least one window

// Reads tokens [begin, begin + tokens); the predictions from position `first` on are new.
struct Reading {
  int64_t begin, tokens, first;
};

class Readings {
 public:
  Readings(std::span<const int64_t> begins, int64_t tokens, const ScoreOptions& options)
      : begins_(begins), tokens_(tokens), context_(options.context), stride_(options.stride) {}

  // The next one; false at the end.
  bool Next(Reading& window) {
    window = {};
    while (window.tokens == 0 && document_ < begins_.size()) {
      const int64_t predictions = End(document_) - 1 - begins_[document_];
      window = predictions > context_ ? NextOfLong(predictions) : WholeOnes();
    }
    return window.tokens > 0;
  }

 private:
  int64_t End(size_t document) const {
    return document + 1 < begins_.size() ? begins_[document + 1] : tokens_;
  }
  Reading NextOfLong(int64_t predictions) {
    const int64_t begin = begins_[document_];
    const int64_t fresh = done_ == 0 ? context_ : std::min(stride_, predictions - done_);
    done_ += fresh;
    const Reading window = {begin + done_ - context_, context_, context_ - fresh};
    if (done_ == predictions) {
      ++document_;
      done_ = 0;
    }
    return window;
  }
  Reading WholeOnes() {
    const int64_t begin = begins_[document_];
    int64_t last = End(document_++) - 1;  // it is predicted, and not read
    while (document_ < begins_.size() && End(document_) - 1 - begin <= context_) {
      last = End(document_++) - 1;
    }
    return {begin, last - begin, 0};
  }

  const std::span<const int64_t> begins_;
  const int64_t tokens_, context_, stride_;
  size_t document_ = 0;
  int64_t done_ = 0;  // predictions of the document so far, where it is a long one
};

// Readings of one shape, run as one batch.
class Scorer {
 public:
  Scorer(model::Model& model, std::span<const int32_t> tokens, std::span<const int64_t> begins)
      : model_(model), tokens_(tokens), begins_(begins) {}

  Status Run(std::span<const Reading> windows) {
    const Reading& shape = windows.front();
    const auto count = static_cast<int64_t>(windows.size());
    ids_.clear();
    targets_.clear();
    first_keys_.clear();
    for (const Reading& w : windows) {
      AddFirstKeys(w);
      const auto length = static_cast<size_t>(w.tokens);
      const auto read = tokens_.subspan(static_cast<size_t>(w.begin), length);
      const auto next = tokens_.subspan(static_cast<size_t>(w.begin) + 1, length);
      ids_.insert(ids_.end(), read.begin(), read.end());
      targets_.insert(targets_.end(), next.begin(), next.end());
    }
    losses_.resize(static_cast<size_t>(count * (shape.tokens - shape.first)));
    return model_.TokenLosses({.batch = count,
                               .tokens = shape.tokens,
                               .ids = ids_.data(),
                               .targets = targets_.data(),
                               .first_keys = begins_.size() > 1 ? first_keys_.data() : nullptr},
                              shape.first, losses_.data());
  }
  std::span<const float> losses() const { return losses_; }

 private:
  // Where the document of each token of a window begins in it.
  void AddFirstKeys(const Reading& w) {
    auto document = std::upper_bound(begins_.begin(), begins_.end(), w.begin);
    int64_t key = 0;
    for (int64_t i = 0; i < w.tokens; ++i) {
      if (document != begins_.end() && *document == w.begin + i) {
        key = i;
        ++document;
      }
      first_keys_.push_back(static_cast<int32_t>(key));
    }
  }

  model::Model& model_;
  const std::span<const int32_t> tokens_;
  const std::span<const int64_t> begins_;
  std::vector<int32_t> ids_, targets_, first_keys_;
  std::vector<float> losses_;
};

Status CheckText(std::span<const int32_t> tokens, std::span<const int64_t> begins, int64_t vocab) {
  if (tokens.size() < 2) {
    return InvalidArgument("{} tokens, at least 2 are needed: the first is not predicted",
                           tokens.size());
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab) {
      return InvalidArgument("token {} is {}, the vocabulary has {}", i, tokens[i], vocab);
    }
  }
  if (begins.empty() || begins[0] != 0) return InvalidArgument("no document begins at token 0");
  for (size_t i = 1; i < begins.size(); ++i) {
    if (begins[i] > begins[i - 1] && begins[i] < std::ssize(tokens)) continue;
    return InvalidArgument("document {} begins at token {}, expected {} to {}", i, begins[i],
                           begins[i - 1] + 1, std::ssize(tokens) - 1);
  }
  return {};
}

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

Status ScoreText(model::Model& model, std::span<const int32_t> tokens,
                 std::span<const int64_t> begins, const ScoreOptions& options,
                 ScoreCallback callback) {
  DS_ASSIGN(const ScoreOptions resolved, ResolveScore(options, model));
  DS_TRY(CheckText(tokens, begins, model.vocab()));
  const int64_t most = std::max<int64_t>(1, kBatchTokens / resolved.context);
  Scorer scorer(model, tokens, begins);
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t token = 1;  // the next one
  auto document = begins.begin() + 1;
  // What begins documents, up to `end` or what does not.
  const auto skip = [&](int64_t end) {
    for (; token < end && document != begins.end() && *document == token; ++token, ++document) {
      if (!callback(std::nan(""))) return false;
    }
    return true;
  };
  const auto run = [&](std::span<const Reading> batch) -> Result<bool> {
    DS_TRY(scorer.Run(batch));
    size_t at = 0;
    for (const Reading& w : batch) {
      for (int64_t i = w.first; i < w.tokens; ++i, ++at) {
        if (!skip(w.begin + i + 2)) return false;
        if (token != w.begin + i + 1) continue;
        const double score = -static_cast<double>(scorer.losses()[at]);
        if (!std::isfinite(score)) {
          return InvalidState("the log-probability of token {} is {}: the model is broken", token,
                              score);
        }
        ++token;
        if (!callback(score)) return false;
      }
    }
    return true;
  };
  Readings windows(begins, size, resolved);
  std::vector<Reading> batch;
  for (Reading next; windows.Next(next);) {
    const bool fits = batch.empty() ||
                      (batch.front().tokens == next.tokens && batch.front().first == next.first &&
                       static_cast<int64_t>(batch.size()) < most);
    if (!fits) {
      DS_ASSIGN(const bool more, run(batch));
      if (!more) return {};
      batch.clear();
    }
    batch.push_back(next);
  }
  if (!batch.empty()) {
    DS_ASSIGN(const bool more, run(batch));
    if (!more) return {};
  }
  skip(size);
  return {};
}

}  // namespace ds::infer
