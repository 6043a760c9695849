#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace ds::infer {
namespace {

TEST(TokenSampler, GreedyTakesTheLargestAndTheLowestOfEquals) {
  TokenSampler sampler({.temperature = 0});
  EXPECT_EQ(*sampler.Sample(std::vector<float>{1, 5, 2, 5}, 0), 1);
  EXPECT_EQ(*sampler.Sample(std::vector<float>{-3}, 0), 0);
}

TEST(TokenSampler, FollowsTheProbabilities) {
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(5.0f),
                                     std::log(2.0f)};
  TokenSampler all({.temperature = 1, .seed = 7}), two({.temperature = 1, .top_k = 2, .seed = 7});
  std::map<int32_t, int> counts, counts_two;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    const auto index = static_cast<uint64_t>(i);
    ++counts[*all.Sample(logits, index)];
    ++counts_two[*two.Sample(logits, index)];
    EXPECT_EQ(*all.Sample(logits, index), *all.Sample(logits, index));
  }
  EXPECT_NEAR(counts[0], 0.1 * n, 150);
  EXPECT_NEAR(counts[1], 0.2 * n, 200);
  EXPECT_NEAR(counts[2], 0.5 * n, 250);
  EXPECT_EQ(counts_two.size(), 2u);  // 2 and, of equals, 1
  EXPECT_NEAR(counts_two[1], n * 2 / 7.0, 250);
  EXPECT_EQ(counts_two[1] + counts_two[2], n);
}

TEST(TokenSampler, TemperatureSharpens) {
  const std::vector<float> logits = {0, 1};
  TokenSampler cold({.temperature = 0.01, .seed = 3}), one({.temperature = 9, .top_k = 1});
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(*cold.Sample(logits, i), 1);
    EXPECT_EQ(*one.Sample(logits, i), 1);
  }
}

// Which tokens are ever chosen.
std::vector<int32_t> Chosen(const SamplingOptions& options, const std::vector<float>& logits,
                            const std::vector<int32_t>& seen = {}) {
  TokenSampler sampler(options);
  std::map<int32_t, int> counts;
  for (uint64_t i = 0; i < 4000; ++i) ++counts[*sampler.Sample(logits, i, seen)];
  std::vector<int32_t> tokens;
  for (const auto& [token, count] : counts) tokens.push_back(token);
  return tokens;
}

TEST(TokenSampler, TopPKeepsTheNucleus) {
  // 0.1, 0.2, 0.5, 0.2
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(5.0f),
                                     std::log(2.0f)};
  EXPECT_EQ(Chosen({.top_p = 0.4}, logits), (std::vector<int32_t>{2}));
  EXPECT_EQ(Chosen({.top_p = 1e-9}, logits), (std::vector<int32_t>{2}));
  EXPECT_EQ(Chosen({.top_p = 0.6}, logits), (std::vector<int32_t>{1, 2}));  // of equals, 1
  EXPECT_EQ(Chosen({.top_p = 0.8}, logits), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(Chosen({.top_p = 1}, logits), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(Chosen({.top_k = 2, .top_p = 0.99}, logits), (std::vector<int32_t>{1, 2}));
}

TEST(TokenSampler, MinPIsMeasuredByTheLikeliest) {
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(5.0f),
                                     std::log(2.0f)};
  EXPECT_EQ(Chosen({.min_p = 0.5}, logits), (std::vector<int32_t>{2}));
  EXPECT_EQ(Chosen({.min_p = 0.39}, logits), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(Chosen({.min_p = 0.1}, logits), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(Chosen({.min_p = 1}, logits), (std::vector<int32_t>{2}));
  // After the temperature: at 0.5, 0.4 of the likeliest is 0.16.
  EXPECT_EQ(Chosen({.temperature = 0.5, .min_p = 0.2}, logits), (std::vector<int32_t>{2}));
}

TEST(TokenSampler, RepetitionIsPenalisedOnceAToken) {
  TokenSampler greedy({.temperature = 0, .repetition_penalty = 2});
  EXPECT_EQ(*greedy.Sample(std::vector<float>{3, 2}, 0, std::vector<int32_t>{0}), 1);     // 1.5, 2
  EXPECT_EQ(*greedy.Sample(std::vector<float>{5, 2}, 0, std::vector<int32_t>{0, 0}), 0);  // 2.5, 2
  EXPECT_EQ(*greedy.Sample(std::vector<float>{-1, -1.5f}, 0, std::vector<int32_t>{0}), 1);
  EXPECT_EQ(*greedy.Sample(std::vector<float>{3, 2}, 0, std::vector<int32_t>{-1, 7}), 0);
}

TEST(TokenSampler, RefusesWhatMakesNoSense) {
  TokenSampler sampler({});
  EXPECT_FALSE(sampler.Sample({}, 0).ok());
  EXPECT_EQ(sampler.Sample(std::vector<float>{0, NAN}, 0).status().message(),
            "the logit of token 1 is nan: the model is broken");
  EXPECT_FALSE((SamplingOptions{.temperature = -1}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.temperature = NAN}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.top_k = -1}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.top_p = 0}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.top_p = 1.1}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.min_p = -0.1}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.min_p = NAN}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.repetition_penalty = 0}).Check().ok());
  EXPECT_TRUE(SamplingOptions{}.Check().ok());
}

}  // namespace
}  // namespace ds::infer
