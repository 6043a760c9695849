#include "infer/text_score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "support/model_rig.h"

namespace ds::infer {
namespace {

using test::ModelRig;

constexpr int64_t kVocab = 11, kContext = 8;

std::vector<int32_t> Text(size_t tokens) {
  std::vector<int32_t> text;
  for (size_t i = 0; i < tokens; ++i) {
    text.push_back(static_cast<int32_t>(RandomBelow(5, 1, i, kVocab)));
  }
  return text;
}

std::vector<double> Scores(ModelRig& rig, const std::vector<int32_t>& text,
                           const ScoreOptions& options) {
  std::vector<double> scores;
  const Status status = ScoreText(*rig.model, rig.pool, text, options, [&](double score) {
    scores.push_back(score);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return scores;
}

// One token at a time, from the tokens [begin, target) alone.
double Alone(ModelRig& rig, const std::vector<int32_t>& text, int64_t begin, int64_t target) {
  std::vector<float> logits(kVocab);
  const model::TokenBatch batch{1, target - begin, text.data() + begin, nullptr};
  EXPECT_TRUE(rig.model->Logits(batch, batch.tokens - 1, logits.data()).ok());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  return logits[static_cast<size_t>(text[static_cast<size_t>(target)])] - std::log(sum);
}

TEST(TextScore, EveryTokenButTheFirstOnceFromItsWindow) {
  ModelRig rig({});
  for (const int64_t stride : {1, 3, 4, 8}) {
    for (const size_t tokens : {2, 8, 9, 10, 31, 40}) {
      const auto text = Text(tokens);
      const auto scores = Scores(rig, text, {.context = kContext, .stride = stride});
      ASSERT_EQ(scores.size(), tokens - 1);
      int64_t done = std::min<int64_t>(kContext, std::ssize(text) - 1);
      for (int64_t target = 1; target < std::ssize(text); ++target) {
        if (target > done) done = std::min(done + stride, std::ssize(text) - 1);
        const int64_t begin = std::max<int64_t>(0, done - kContext);
        EXPECT_NEAR(scores[static_cast<size_t>(target - 1)], Alone(rig, text, begin, target), 1e-5)
            << "token " << target << " of " << tokens << ", stride " << stride;
      }
    }
  }
}

TEST(TextScore, AgreesWithTheLossOfOneWindow) {
  ModelRig rig({});
  const auto text = Text(kContext + 1);
  const auto scores = Scores(rig, text, {});
  const model::TokenBatch batch{1, kContext, text.data(), text.data() + 1};
  EXPECT_NEAR(-std::accumulate(scores.begin(), scores.end(), 0.0), *rig.model->ForwardLoss(batch),
              1e-5);
}

TEST(TextScore, ThreadsAndBatchesChangeNothing) {
  ModelRig rig({}), threads({.threads = 3});
  const auto text = Text(500);
  EXPECT_EQ(Scores(rig, text, {}), Scores(threads, text, {}));
}

TEST(TextScore, EndsWhenTold) {
  ModelRig rig({});
  int calls = 0;
  const auto text = Text(100);
  EXPECT_TRUE(ScoreText(*rig.model, rig.pool, text, {}, [&](double) { return ++calls < 7; }).ok());
  EXPECT_EQ(calls, 7);
}

TEST(TextScore, RefusesWhatMakesNoSense) {
  ModelRig rig({});
  const auto ignore = [](double) { return true; };
  const std::vector<int32_t> one = {1}, bad = {1, 99}, good = {1, 2};
  EXPECT_FALSE(ScoreText(*rig.model, rig.pool, one, {}, ignore).ok());
  EXPECT_EQ(ScoreText(*rig.model, rig.pool, bad, {}, ignore).message(),
            "token 1 is 99, the vocabulary has 11");
  for (const ScoreOptions& options :
       {ScoreOptions{.context = 9}, {.context = -1}, {.stride = 9}, {.context = 4, .stride = 5}}) {
    EXPECT_FALSE(ScoreText(*rig.model, rig.pool, good, options, ignore).ok());
  }
}

}  // namespace
}  // namespace ds::infer
