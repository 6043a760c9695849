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

TEST(TokenSampler, RefusesWhatMakesNoSense) {
  TokenSampler sampler({});
  EXPECT_FALSE(sampler.Sample({}, 0).ok());
  EXPECT_EQ(sampler.Sample(std::vector<float>{0, NAN}, 0).status().message(),
            "the logit of token 1 is nan: the model is broken");
  EXPECT_FALSE((SamplingOptions{.temperature = -1}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.temperature = NAN}).Check().ok());
  EXPECT_FALSE((SamplingOptions{.top_k = -1}).Check().ok());
  EXPECT_TRUE(SamplingOptions{}.Check().ok());
}

}  // namespace
}  // namespace ds::infer
