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

constexpr int64_t kOne[] = {0};  // a text that is one document

std::vector<double> Scores(ModelRig& rig, const std::vector<int32_t>& text,
                           const ScoreOptions& options, std::span<const int64_t> begins = kOne) {
  std::vector<double> scores;
  const Status status = ScoreText(*rig.model, text, begins, options, [&](double score) {
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

// Each as if it were a text of its own, short ones and long ones, and those of a single token.
TEST(TextScore, DocumentsDoNotSeeEachOther) {
  ModelRig rig({});
  for (const std::vector<int64_t>& begins : std::vector<std::vector<int64_t>>{
           {0, 3, 5, 6, 7, 20, 29, 38, 39, 43, 44},  // 38: a single one; 44: the last
           {0, 1},
           {0, 1, 2, 3, 4, 5, 44},
           {0, 9, 18, 27, 36},  // just as long as a window predicts
           {0, 30, 32}}) {
    const auto text = Text(45);
    const auto scores = Scores(rig, text, {.context = kContext, .stride = 3}, std::span(begins));
    ASSERT_EQ(scores.size(), text.size() - 1);
    for (size_t i = 0; i < begins.size(); ++i) {
      const auto begin = begins[i];
      const auto end = i + 1 < begins.size() ? begins[i + 1] : std::ssize(text);
      if (begin > 0) {
        EXPECT_TRUE(std::isnan(scores[static_cast<size_t>(begin) - 1])) << begin;
      }
      if (end - begin < 2) continue;
      const auto alone = Scores(rig, {text.begin() + begin, text.begin() + end},
                                {.context = kContext, .stride = 3});
      for (size_t k = 0; k < alone.size(); ++k) {
        EXPECT_NEAR(scores[static_cast<size_t>(begin) + k], alone[k], 1e-5)
            << "token " << k + 1 << " of the document at " << begin;
      }
    }
  }
}

TEST(TextScore, EndsWhenTold) {
  ModelRig rig({});
  const auto text = Text(100);
  const int64_t many[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 90, 99};
  for (const std::span<const int64_t> begins : {std::span<const int64_t>(kOne), {many}}) {
    for (const int most : {1, 7, 98, 99}) {
      int calls = 0;
      EXPECT_TRUE(
          ScoreText(*rig.model, text, begins, {}, [&](double) { return ++calls < most; }).ok());
      EXPECT_EQ(calls, most);
    }
  }
}

TEST(TextScore, RefusesWhatMakesNoSense) {
  ModelRig rig({});
  const auto ignore = [](double) { return true; };
  const std::vector<int32_t> one = {1}, bad = {1, 99}, good = {1, 2};
  const auto refusal = [&](const std::vector<int32_t>& text, std::vector<int64_t> begins) {
    return ScoreText(*rig.model, text, begins, {}, ignore).message();
  };
  EXPECT_EQ(refusal(one, {0}), "1 tokens, at least 2 are needed: the first is not predicted");
  EXPECT_EQ(refusal(bad, {0}), "token 1 is 99, the vocabulary has 11");
  EXPECT_EQ(refusal(good, {}), "no document begins at token 0");
  EXPECT_EQ(refusal(good, {1}), "no document begins at token 0");
  EXPECT_EQ(refusal(good, {0, 0}), "document 1 begins at token 0, expected 1 to 1");
  EXPECT_EQ(refusal(good, {0, 2}), "document 1 begins at token 2, expected 1 to 1");
  for (const ScoreOptions& options :
       {ScoreOptions{.context = 9}, {.context = -1}, {.stride = 9}, {.context = 4, .stride = 5}}) {
    EXPECT_FALSE(ScoreText(*rig.model, good, kOne, options, ignore).ok());
  }
}

}  // namespace
}  // namespace ds::infer
