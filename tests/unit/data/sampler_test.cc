#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "support/sanitizer.h"

namespace ds::data {
namespace {

std::vector<uint8_t> Text(size_t n) {
  std::vector<uint8_t> text(n);
  for (size_t i = 0; i < n; ++i) text[i] = static_cast<uint8_t>(i * 37 + i / 256);
  return text;
}

// Rows of a batch as arrays.
struct Rows {
  explicit Rows(int64_t count, int64_t tokens)
      : ids(static_cast<size_t>(count * tokens)), targets(ids.size()), first_keys(ids.size()) {}
  WindowRow at(int64_t place) {
    return {ids.data() + place, targets.data() + place, first_keys.data() + place};
  }
  bool operator==(const Rows&) const = default;

  std::vector<int32_t> ids, targets, first_keys;
};

Result<Sampler> Drawing(const Windows& windows, int64_t batch, uint64_t seed) {
  return Sampler::Create(std::array{WeightedWindows{&windows}}, Order::kDrawn, batch, seed);
}

// Conversations of 3 + i % `most` tokens, of which all but the first two are learned.
std::vector<uint32_t> Talk(int count, int most) {
  std::vector<uint32_t> talk;
  for (int i = 0; i < count; ++i) {
    const auto id = static_cast<uint32_t>(i % 250);
    talk.push_back(id | TokenSpan::kNoLoss | TokenSpan::kBegins);
    talk.push_back(id | TokenSpan::kNoLoss);
    talk.insert(talk.end(), static_cast<size_t>(1 + i % most), id);
  }
  return talk;
}

// The global batch is the same however it is cut over ranks and accumulation steps.
TEST(Sampler, TheGlobalBatchIsIndependentOfRanksAndAccumulation) {
  const auto text = Text(5000);
  const auto talk = Talk(300, 7);
  const int64_t tokens = 16, global = 12;
  const Windows a(text, tokens), b(talk, tokens);
  const WeightedWindows texts[] = {{&a, 1}, {&b, 1}};
  for (const Order order : {Order::kDrawn, Order::kDealt}) {
    auto sampler = Sampler::Create(texts, order, global, 42);
    ASSERT_TRUE(sampler.ok());
    EXPECT_TRUE(sampler->packed());
    for (const int64_t step : {0, 1, 1000000}) {
      Rows whole(global, tokens);
      sampler->Fill(step, 0, global, whole.at(0));
      for (const auto& [world, accumulation] :
           {std::pair<int64_t, int64_t>(1, 1), {2, 3}, {3, 2}, {4, 1}, {1, 12}}) {
        const int64_t micro = global / (world * accumulation);
        Rows parts(global, tokens);
        for (int64_t a = 0; a < accumulation; ++a) {
          for (int64_t rank = 0; rank < world; ++rank) {
            const int64_t first = (a * world + rank) * micro;
            sampler->Fill(step, first, micro, parts.at(first * tokens));
          }
        }
        EXPECT_EQ(parts, whole);
      }
    }
  }
}

TEST(Sampler, DrawsEveryPlaceAndNothingBeyond) {
  const auto text = Text(20);
  const Windows windows(text, 16);
  auto sampler = Drawing(windows, 20, 1);
  std::set<int64_t> starts;
  for (int64_t i = 0; i < 400; ++i) {
    const Sampler::Sample sample = sampler->SampleOf(i / 20, i % 20);
    EXPECT_EQ(sample.window.tokens, 16);
    starts.insert(sample.window.begin);
  }
  EXPECT_EQ(starts, (std::set<int64_t>{0, 1, 2, 3}));  // 20 - 17 is the last
  EXPECT_FALSE(sampler->packed());
}

TEST(Sampler, SeedsAndStepsDiffer) {
  const auto text = Text(100000);
  const Windows windows(text, 16);
  auto a = Drawing(windows, 4, 1), b = Drawing(windows, 4, 2);
  std::set<int64_t> starts;
  for (int64_t step = 0; step < 4; ++step) {
    for (int64_t i = 0; i < 4; ++i) {
      starts.insert(a->SampleOf(step, i).window.begin);
      starts.insert(b->SampleOf(step, i).window.begin);
    }
  }
  EXPECT_EQ(starts.size(), 32u);
}

// Of conversations the windows are drawn that hold whole ones.
TEST(Sampler, DrawsWholeConversations) {
  const auto talk = Talk(100, 5);
  const Windows windows(talk, 16);
  auto sampler = Drawing(windows, 1, 9);
  std::set<int64_t> starts;
  for (int64_t step = 0; step < 1000; ++step) {
    const Window window = sampler->SampleOf(step, 0).window;
    EXPECT_TRUE(TokenSpan(talk).BeginsAt(static_cast<size_t>(window.begin)));
    starts.insert(window.begin);
  }
  EXPECT_EQ(std::ssize(starts), windows.size());
}

// Of every beginning of a run, as many samples as the weights say.
TEST(Sampler, TextsHaveTheirPartsOfTheSamples) {
  const auto text = Text(100);
  const Windows windows(text, 16);
  const WeightedWindows texts[] = {
      {&windows, 3.5}, {&windows, 1}, {&windows, 0.5}, {&windows, 1e-3}};
  const double parts[] = {3.5 / 5.001, 1 / 5.001, 0.5 / 5.001, 1e-3 / 5.001};
  for (const auto& [seed, batch] : {std::pair<uint64_t, int64_t>(1, 1), {2, 8}, {3, 12}}) {
    auto sampler = Sampler::Create(texts, Order::kDrawn, batch, seed);
    ASSERT_TRUE(sampler.ok()) << sampler.status().message();
    double counts[4] = {};
    for (int64_t n = 0; n < 60000; ++n) {
      ++counts[sampler->SampleOf(n / batch, n % batch).text];
      for (int i = 0; i < 4; ++i) {
        ASSERT_NEAR(counts[i], parts[i] * static_cast<double>(n + 1), 6) << n << " samples";
      }
    }
  }
}

TEST(Sampler, ASampleOfSeveralTextsIsOfTheOneThatItNames) {
  const std::vector<uint8_t> a(40, 1);
  const std::vector<uint16_t> b(3000, 2);
  const Windows short_one(a, 16), long_one(b, 16);
  const WeightedWindows texts[] = {{&short_one, 1}, {&long_one, 2}};
  const auto make = [&](uint64_t seed) { return Sampler::Create(texts, Order::kDrawn, 6, seed); };
  auto sampler = make(7), again = make(7), other = make(8);
  ASSERT_TRUE(sampler.ok());
  Rows rows(6, 16);
  int64_t furthest = 0;
  int differ = 0;
  for (const int64_t step : {5, 0, 1000000, 5}) {  // in any order
    sampler->Fill(step, 0, 6, rows.at(0));
    for (int64_t i = 0; i < 6; ++i) {
      const Sampler::Sample sample = sampler->SampleOf(step, i);
      EXPECT_EQ(sample.text, again->SampleOf(step, i).text);
      EXPECT_EQ(sample.window, again->SampleOf(step, i).window);
      EXPECT_EQ(rows.ids[static_cast<size_t>(i) * 16], static_cast<int32_t>(sample.text + 1));
      if (sample.text == 1) furthest = std::max(furthest, sample.window.begin);
      EXPECT_LE(sample.window.begin, sample.text == 0 ? 40 - 17 : 3000 - 17);
      differ += sample.text != other->SampleOf(step, i).text;
    }
  }
  EXPECT_GT(furthest, 40);
  EXPECT_GT(differ, 0);
}

// One text of a list is what the text is alone, and a sample does not go by how many a step has.
TEST(Sampler, OneOfOneIsAsAlone) {
  const auto text = Text(5000);
  const Windows windows(text, 16);
  const WeightedWindows texts[] = {{&windows, 0.3}};
  auto alone = Drawing(windows, 1, 42), listed = Sampler::Create(texts, Order::kDrawn, 12, 42);
  for (int64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(alone->SampleOf(i, i % 12).window, listed->SampleOf(i, i % 12).window);
  }
}

// Every window once an epoch, whatever the batch, in another order in the next and of another seed.
TEST(Sampler, DealsEachWindowOnceAnEpoch) {
  const auto text = Text(1000);
  const auto talk = Talk(77, 6);
  for (const int64_t tokens : {1, 7, 16, 998, 999, 5000}) {
    const Windows a(text, tokens), b(talk, tokens);
    const WeightedWindows texts[] = {{&a}, {&b}};
    const int64_t windows = a.size() + b.size();
    std::set<std::vector<std::pair<size_t, int64_t>>> orders;
    for (const auto& [seed, batch] : {std::pair<uint64_t, int64_t>(1, 1), {1, 5}, {2, 3}}) {
      auto sampler = Sampler::Create(texts, Order::kDealt, batch, seed);
      ASSERT_TRUE(sampler.ok()) << sampler.status().message();
      int64_t n = 0;
      for (int epoch = 0; epoch < 3; ++epoch) {
        std::vector<std::pair<size_t, int64_t>> order;
        for (int64_t i = 0; i < windows; ++i, ++n) {
          const Sampler::Sample sample = sampler->SampleOf(n / batch, n % batch);
          order.emplace_back(sample.text, sample.window.begin);
        }
        orders.insert(order);
        std::sort(order.begin(), order.end());
        EXPECT_EQ(std::unique(order.begin(), order.end()), order.end()) << tokens;
      }
    }
    if (windows > 10) {
      EXPECT_EQ(orders.size(), 6u) << tokens;  // two seeds of three epochs
    }
  }
}

// Neighbours in the text are no neighbours in the run, and no place has a window it prefers.
TEST(Sampler, DealsLikeAShuffle) {
  const auto text = Text(101);
  const Windows windows(text, 1);
  const WeightedWindows texts[] = {{&windows}};
  auto sampler = Sampler::Create(texts, Order::kDealt, 100, 3);
  const int epochs = test::kUnderAsan ? 400 : 4000;
  std::vector<double> first(100), sum(100);
  int neighbours = 0;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    ++first[static_cast<size_t>(sampler->SampleOf(epoch, 0).window.begin)];
    for (int64_t i = 0; i < 100; ++i) {
      const int64_t begin = sampler->SampleOf(epoch, i).window.begin;
      sum[static_cast<size_t>(begin)] += static_cast<double>(i);
      neighbours += i > 0 && begin == sampler->SampleOf(epoch, i - 1).window.begin + 1;
    }
  }
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_NEAR(first[i], epochs / 100, 5 * std::sqrt(epochs / 100.0)) << i;
    EXPECT_NEAR(sum[i] / epochs, 49.5, 5 * 29 / std::sqrt(epochs)) << i;
  }
  EXPECT_NEAR(neighbours, epochs * 0.99, 5 * std::sqrt(epochs));  // one in 100 follows its own
}

// What is counted is what Fill() gives, over all samples of the step.
TEST(Sampler, CountsTheTargetsOfAStepThatAreLearned) {
  const auto talk = Talk(90, 11);
  const std::vector<uint16_t> text(300, 7);
  const int64_t batch = 6, tokens = 16;
  const Windows a(talk, tokens), b(text, tokens);
  const WeightedWindows texts[] = {{&a, 3}, {&b, 1}};
  for (const Order order : {Order::kDrawn, Order::kDealt}) {
    auto sampler = Sampler::Create(texts, order, batch, 5);
    ASSERT_TRUE(sampler.ok());
    std::set<int64_t> seen;
    for (int64_t step = 0; step < 50; ++step) {
      Rows rows(batch, tokens);
      sampler->Fill(step, 0, batch, rows.at(0));
      const int64_t learned =
          std::count_if(rows.targets.begin(), rows.targets.end(), [](int32_t t) { return t >= 0; });
      EXPECT_EQ(sampler->Learned(step), learned);
      seen.insert(learned);
    }
    EXPECT_GT(seen.size(), 10u);  // neither all of them nor none
  }
}

TEST(Sampler, RefusesTextsThatCannotBeDrawnFrom) {
  const auto text = Text(100);
  const Windows windows(text, 16), none(TokenSpan(text).first(16), 16), other(text, 17);
  const auto refusal = [&](std::vector<WeightedWindows> texts, int64_t batch = 1) {
    return Sampler::Create(texts, Order::kDrawn, batch, 1).status().message();
  };
  EXPECT_EQ(refusal({}), "no texts to draw from");
  EXPECT_EQ(refusal({{&windows, 1}}, 0), "steps of 0 samples, expected 1 or more");
  EXPECT_EQ(refusal({{&windows, 1}, {&windows, 0}}),
            "a text of weight 0, expected a finite number above 0");
  EXPECT_EQ(refusal({{&windows, 1e308}, {&windows, 1e308}}),
            "the weights of the texts add up to inf");
  EXPECT_EQ(refusal({{&windows, 1}, {&none, 1}}),
            "a text of 16 tokens has no window of 16 to learn from");
  EXPECT_EQ(refusal({{&windows, 1}, {&other, 1}}),
            "windows of 16 and of 17 tokens, expected one length");
}

}  // namespace
}  // namespace ds::data
