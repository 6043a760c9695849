#include "infer/generate.h"

#include <gtest/gtest.h>

#include "support/model_rig.h"

namespace ds::infer {
namespace {

using test::ModelRig;

std::vector<int32_t> Tokens(model::Model& model, std::vector<int32_t> prompt,
                            const GenerateOptions& options, size_t stop_at = SIZE_MAX) {
  std::vector<int32_t> tokens;
  const Status status = Generate(model, prompt, options, [&](int32_t token) {
    tokens.push_back(token);
    return tokens.size() < stop_at;
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return tokens;
}

TEST(Generate, IsDeterministicAndStopsWhenTold) {
  ModelRig rig({}), again({.threads = 3});
  const GenerateOptions options{.tokens = 5, .sampling = {.temperature = 1, .seed = 3}};
  const auto tokens = Tokens(*rig.model, {1, 2}, options);
  EXPECT_EQ(tokens.size(), 5u);
  EXPECT_EQ(Tokens(*again.model, {1, 2}, options), tokens);
  EXPECT_EQ(Tokens(*rig.model, {1, 2}, options, 3).size(), 3u);
  EXPECT_TRUE(Tokens(*rig.model, {1, 2}, {.tokens = 0}).empty());
}

// Greedy text against the whole window read anew for every token, over several slides of a context
// of 8 that keeps its newer half.
TEST(Generate, SlidesWhenTheContextIsFull) {
  ModelRig rig({});
  const auto tokens = Tokens(*rig.model, {3, 1, 4}, {.tokens = 30, .sampling = {.temperature = 0}});
  ASSERT_EQ(tokens.size(), 30u);
  std::vector<int32_t> window = {3, 1, 4};
  std::vector<float> logits(11);
  TokenSampler greedy({.temperature = 0});
  for (const int32_t token : tokens) {
    const model::TokenBatch batch{1, std::ssize(window), window.data(), nullptr};
    ASSERT_TRUE(rig.model->Logits(batch, batch.tokens - 1, logits.data()).ok());
    EXPECT_EQ(*greedy.Sample(logits, 0), token);
    if (window.size() == 8) window.erase(window.begin(), window.begin() + 4);
    window.push_back(token);
  }
}

TEST(Generate, ALongPromptCountsFromItsEnd) {
  ModelRig rig({});
  std::vector<int32_t> tail = {5, 6, 7, 8, 9, 10, 0, 1}, longer = {1, 1, 1};
  longer.insert(longer.end(), tail.begin(), tail.end());
  const GenerateOptions options{.tokens = 4, .sampling = {.temperature = 0}};
  EXPECT_EQ(Tokens(*rig.model, longer, options), Tokens(*rig.model, tail, options));
}

TEST(Generate, RefusesWhatMakesNoSense) {
  ModelRig rig({});
  const auto ignore = [](int32_t) { return true; };
  const std::vector<int32_t> bad = {1, 99}, good = {1};
  EXPECT_FALSE(Generate(*rig.model, {}, {}, ignore).ok());
  EXPECT_FALSE(Generate(*rig.model, bad, {}, ignore).ok());
  EXPECT_FALSE(Generate(*rig.model, good, {.tokens = -1}, ignore).ok());
  EXPECT_FALSE(Generate(*rig.model, good, {.sampling = {.top_k = -1}}, ignore).ok());
}

}  // namespace
}  // namespace ds::infer
