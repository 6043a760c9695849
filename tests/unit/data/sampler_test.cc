#include "data/sampler.h"

#include <gtest/gtest.h>

#include <set>

namespace ds::data {
namespace {

std::vector<uint8_t> Text(size_t n) {
  std::vector<uint8_t> text(n);
  for (size_t i = 0; i < n; ++i) text[i] = static_cast<uint8_t>(i * 37 + i / 256);
  return text;
}

// The global batch is the same however it is cut over ranks and accumulation steps.
TEST(Sampler, TheGlobalBatchIsIndependentOfRanksAndAccumulation) {
  const auto text = Text(5000);
  const int64_t tokens = 16, global = 12;
  auto sampler = Sampler::Create(text, tokens, 42);
  ASSERT_TRUE(sampler.ok());
  for (const int64_t step : {0, 1, 1000000}) {
    std::vector<int32_t> ids(global * tokens), targets(global * tokens);
    sampler->Fill(step, 0, global, ids.data(), targets.data());
    for (const auto& [world, accumulation] :
         {std::pair<int64_t, int64_t>(1, 1), {2, 3}, {3, 2}, {4, 1}, {1, 12}}) {
      const int64_t micro = global / (world * accumulation);
      std::vector<int32_t> part(ids.size()), part_targets(ids.size());
      for (int64_t a = 0; a < accumulation; ++a) {
        for (int64_t rank = 0; rank < world; ++rank) {
          const int64_t first = (a * world + rank) * micro;
          sampler->Fill(step, first, micro, &part[static_cast<size_t>(first * tokens)],
                        &part_targets[static_cast<size_t>(first * tokens)]);
        }
      }
      EXPECT_EQ(part, ids);
      EXPECT_EQ(part_targets, targets);
    }
  }
}

TEST(Sampler, DrawsEveryPlaceAndNothingBeyond) {
  const auto text = Text(20);
  auto sampler = Sampler::Create(text, 16, 1);
  std::set<int64_t> starts;
  for (int64_t i = 0; i < 400; ++i) starts.insert(sampler->WindowStart(i / 20, i % 20));
  EXPECT_EQ(starts, (std::set<int64_t>{0, 1, 2, 3}));  // 20 - 17 is the last
  std::vector<int32_t> ids(16), targets(16);
  sampler->Fill(3, 5, 1, ids.data(), targets.data());
  const auto start = static_cast<size_t>(sampler->WindowStart(3, 5));
  EXPECT_EQ(ids[0], text[start]);
  EXPECT_EQ(targets[15], text[start + 16]);
  EXPECT_TRUE(std::equal(ids.begin() + 1, ids.end(), targets.begin()));
}

TEST(Sampler, SeedsAndStepsDiffer) {
  const auto text = Text(100000);
  auto a = Sampler::Create(text, 16, 1), b = Sampler::Create(text, 16, 2);
  std::set<int64_t> starts;
  for (int64_t step = 0; step < 4; ++step) {
    for (int64_t i = 0; i < 4; ++i) {
      starts.insert(a->WindowStart(step, i));
      starts.insert(b->WindowStart(step, i));
    }
  }
  EXPECT_EQ(starts.size(), 32u);
  EXPECT_FALSE(Sampler::Create(text, 100000, 1).ok());
  EXPECT_TRUE(Sampler::Create(text, 99999, 1).ok());
}

// Of every beginning of a run, as many samples as the weights say.
TEST(Sampler, TextsHaveTheirPartsOfTheSamples) {
  const auto text = Text(100);
  const WeightedText texts[] = {{text, 3.5}, {text, 1}, {text, 0.5}, {text, 1e-3}};
  const double parts[] = {3.5 / 5.001, 1 / 5.001, 0.5 / 5.001, 1e-3 / 5.001};
  for (const auto& [seed, batch] : {std::pair<uint64_t, int64_t>(1, 1), {2, 8}, {3, 12}}) {
    auto sampler = Sampler::Create(texts, batch, 16, seed);
    ASSERT_TRUE(sampler.ok()) << sampler.status().message();
    double counts[4] = {};
    for (int64_t n = 0; n < 60000; ++n) {
      ++counts[sampler->TextOf(n / batch, n % batch)];
      for (int i = 0; i < 4; ++i) {
        ASSERT_NEAR(counts[i], parts[i] * static_cast<double>(n + 1), 6) << n << " samples";
      }
    }
  }
}

TEST(Sampler, ASampleOfSeveralTextsIsOfTheOneThatItNames) {
  const std::vector<uint8_t> a(40, 1);
  const std::vector<uint16_t> b(3000, 2);
  const WeightedText texts[] = {{a, 1}, {b, 2}};
  auto sampler = Sampler::Create(texts, 6, 16, 7), again = Sampler::Create(texts, 6, 16, 7);
  auto other = Sampler::Create(texts, 6, 16, 8);
  ASSERT_TRUE(sampler.ok());
  std::vector<int32_t> ids(16 * 6), targets(ids.size());
  std::set<int64_t> starts;
  int differ = 0;
  for (const int64_t step : {5, 0, 1000000, 5}) {  // in any order
    sampler->Fill(step, 0, 6, ids.data(), targets.data());
    for (int64_t i = 0; i < 6; ++i) {
      const size_t text = sampler->TextOf(step, i);
      EXPECT_EQ(text, again->TextOf(step, i));
      EXPECT_EQ(sampler->WindowStart(step, i), again->WindowStart(step, i));
      EXPECT_EQ(ids[static_cast<size_t>(i) * 16], static_cast<int32_t>(text + 1));
      if (text == 1) starts.insert(sampler->WindowStart(step, i));
      EXPECT_LE(sampler->WindowStart(step, i), text == 0 ? 40 - 17 : 3000 - 17);
      differ += sampler->TextOf(step, i) != other->TextOf(step, i);
    }
  }
  EXPECT_GT(*starts.rbegin(), 40);
  EXPECT_GT(differ, 0);
}

// One text of a list is what the text is alone.
TEST(Sampler, OneOfOneIsAsAlone) {
  const auto text = Text(5000);
  const WeightedText texts[] = {{text, 0.3}};
  auto alone = Sampler::Create(text, 16, 42), listed = Sampler::Create(texts, 12, 16, 42);
  for (int64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(alone->WindowStart(i, i % 12), listed->WindowStart(i, i % 12));
  }
}

// One answer of 3 tokens in 300: a window of 16 has some of it once in 17, and every sample does.
TEST(Sampler, WindowsHaveSomethingToLearn) {
  std::vector<uint32_t> talk(3000);
  for (size_t i = 0; i < talk.size(); ++i) {
    talk[i] = 5 | (i % 300 < 3 ? 0 : TokenSpan::kNoLoss);
  }
  const int64_t tokens = 16;
  auto sampler = Sampler::Create(talk, tokens, 5);
  ASSERT_TRUE(sampler.ok());
  std::set<int64_t> starts;
  int empty = 0;
  for (int64_t step = 0; step < 1000; ++step) {
    starts.insert(sampler->WindowStart(step, 0) % 300);
    empty += sampler->Learned(step) == 0;
  }
  EXPECT_LT(empty, 60);           // (16 / 17) ^ 64 of them
  EXPECT_GE(starts.size(), 18u);  // at every place from which an answer is seen
  std::fill(talk.begin(), talk.end(), 5 | TokenSpan::kNoLoss);
  EXPECT_EQ(sampler->Learned(0), 0);  // it ends where there is none
}

// What is counted is what Fill() gives, over all samples of the step.
TEST(Sampler, CountsTheTargetsOfAStepThatAreLearned) {
  std::vector<uint32_t> talk(500);
  for (size_t i = 0; i < talk.size(); ++i) {
    const bool answer = i / 40 % 3 == 0;
    talk[i] = static_cast<uint32_t>(i % 50) | (answer ? 0 : TokenSpan::kNoLoss);
  }
  const std::vector<uint16_t> text(300, 7);
  const WeightedText texts[] = {{TokenSpan(talk), 3}, {TokenSpan(text), 1}};
  const int64_t batch = 6, tokens = 16;
  auto sampler = Sampler::Create(texts, batch, tokens, 5);
  ASSERT_TRUE(sampler.ok());
  std::set<int64_t> seen;
  for (int64_t step = 0; step < 50; ++step) {
    std::vector<int32_t> ids(batch * tokens), targets(batch * tokens);
    sampler->Fill(step, 0, batch, ids.data(), targets.data());
    const int64_t learned =
        std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; });
    EXPECT_EQ(sampler->Learned(step), learned);
    seen.insert(learned);
  }
  EXPECT_GT(seen.size(), 10u);  // neither all of them nor none
}

TEST(Sampler, RefusesTextsThatCannotBeDrawnFrom) {
  const auto text = Text(100);
  const auto refusal = [&](std::vector<WeightedText> texts, int64_t batch = 1) {
    return Sampler::Create(texts, batch, 16, 1).status().message();
  };
  EXPECT_EQ(refusal({}), "no texts to draw from");
  EXPECT_EQ(refusal({{text, 1}}, 0), "steps of 0 samples, expected 1 or more");
  EXPECT_EQ(refusal({{text, 1}, {text, 0}}),
            "a text of weight 0, expected a finite number above 0");
  EXPECT_EQ(refusal({{text, 1e308}, {text, 1e308}}), "the weights of the texts add up to inf");
  EXPECT_EQ(refusal({{text, 1}, {TokenSpan(text).first(16), 1}}),
            "a text of 16 tokens has no window of 16 and one after it");
}

TEST(FillWindow, LeavesOutWhatIsNotLearned) {
  const std::vector<uint32_t> text = {1, 2 | TokenSpan::kNoLoss, 3, 4};
  std::vector<int32_t> ids(3), targets(3);
  FillWindow(text, 0, 3, ids.data(), targets.data());
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(targets, (std::vector<int32_t>{-1, 3, 4}));
}

// One window in five has an answer; those are taken, evenly.
TEST(EvenWindows, HaveSomethingToLearn) {
  std::vector<uint32_t> talk(1000, 5 | TokenSpan::kNoLoss);
  for (size_t i = 25; i < talk.size(); i += 50) talk[i] = 5;
  EXPECT_EQ(EvenWindows(talk, 9, 4), (std::vector<int64_t>{20, 320, 620, 970}));
  EXPECT_EQ(EvenWindows(talk, 9, 100).size(), 20u);
  std::fill(talk.begin(), talk.end(), 5 | TokenSpan::kNoLoss);
  EXPECT_TRUE(EvenWindows(talk, 9, 4).empty());
}

TEST(EvenWindows, CoverTheTextWithoutOverlap) {
  EXPECT_EQ(EvenWindows(Text(100), 9, 4), (std::vector<int64_t>{0, 30, 60, 90}));
  EXPECT_EQ(EvenWindows(Text(100), 9, 1), (std::vector<int64_t>{0}));
  EXPECT_EQ(EvenWindows(Text(10), 9, 8), (std::vector<int64_t>{0}));
  EXPECT_EQ(EvenWindows(Text(9), 9, 8), (std::vector<int64_t>{}));
  EXPECT_EQ(EvenWindows(Text(29), 9, 8), (std::vector<int64_t>{0, 19}));
}

}  // namespace
}  // namespace ds::data
