// The ways to stretch rotary embeddings that no folder of tests/golden has: against what
// transformers 5.24 computes for the same config (ROPE_INIT_FUNCTIONS, theta 10000).
#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace ds::model {
namespace {

struct Turned {
  std::vector<double> frequencies;
  double magnitude;
};

// From the angles of position 1.
Turned TurnedBy(const RopeConfig& rope, int64_t head_dim, int64_t context) {
  std::vector<float> table(static_cast<size_t>(head_dim));
  rope.Fill(head_dim, context, 1, 1, table);
  const auto half = static_cast<size_t>(head_dim / 2);
  Turned turned = {{}, std::hypot(table[0], table[half])};
  for (size_t i = 0; i < half; ++i) {
    turned.frequencies.push_back(std::atan2(table[half + i], table[i]));
  }
  return turned;
}

Json Yarn(const Json& more) {
  Json parameters = {{"rope_type", "yarn"},
                     {"rope_theta", 10000.0},
                     {"factor", 4.0},
                     {"original_max_position_embeddings", 64}};
  parameters.update(more);
  return {{"rope_parameters", parameters}};
}

TEST(RopeConfig, YarnIsThatOfTransformers) {
  const std::vector<double> whole = {1,      0.237170815, 0.049999997, 0.007905695,
                                     0.0025, 0.000790569, 0.00025,     7.9057e-05};
  const std::vector<double> exact = {1,      0.198583528, 0.02559525, 0.007905695,
                                     0.0025, 0.000790569, 0.00025,    7.9057e-05};
  const struct {
    Json more;
    const std::vector<double>& frequencies;
    double magnitude;
  } cases[] = {
      {Json::object(), whole, 1.138629436},
      {{{"truncate", false}}, exact, 1.138629436},
      {{{"truncate", nullptr}}, exact, 1.138629436},
      {{{"beta_slow", 0}, {"beta_fast", 0}}, whole, 1.138629436},
      {{{"mscale", 0.7}, {"mscale_all_dim", nullptr}}, whole, 1.138629436},
      {{{"mscale", 1.0}, {"mscale_all_dim", 1.0}}, whole, 1},
      {{{"mscale", 0.7}, {"mscale_all_dim", 1.2}}, whole, 0.940571525},
      {{{"attention_factor", 0.9}, {"mscale", 2.0}, {"mscale_all_dim", 1.0}}, whole, 0.9},
  };
  for (const auto& [more, frequencies, magnitude] : cases) {
    auto rope = RopeConfig::Parse(Yarn(more));
    ASSERT_TRUE(rope.ok()) << rope.status().message();
    Json written;
    rope->Write(written);
    auto again = RopeConfig::Parse(written);
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(*again, *rope) << more;
    const Turned got = TurnedBy(*rope, 16, 256);
    EXPECT_NEAR(got.magnitude, magnitude, 1e-7) << more;
    for (size_t i = 0; i < frequencies.size(); ++i) {
      EXPECT_NEAR(got.frequencies[i], frequencies[i], 2e-7 * frequencies[i] + 1e-9) << more << i;
    }
  }
}

// As transformers 5.24 reads files in which both are there.
TEST(RopeConfig, TheOlderSpellingCountsAlone) {
  const Json yarn = Yarn(Json::object())["rope_parameters"];
  Json none = {{"rope_type", "default"}, {"rope_theta", 50000.0}};
  const auto parse = [](Json config) { return RopeConfig::Parse(config); };
  auto alone = parse({{"rope_scaling", yarn}});
  ASSERT_TRUE(alone.ok()) << alone.status().message();
  EXPECT_EQ(alone->scaling, RopeScaling::kYarn);
  for (const Json& other : {none, yarn, Json::object(), Json()}) {
    EXPECT_EQ(*parse({{"rope_scaling", yarn}, {"rope_parameters", other}}), *alone) << other;
  }
  for (const Json& empty : {Json(), Json::object()}) {  // says nothing
    auto rope = parse({{"rope_scaling", empty}, {"rope_parameters", none}, {"rope_theta", 7.0}});
    ASSERT_TRUE(rope.ok()) << rope.status().message();
    EXPECT_EQ(rope->theta, 50000);
  }
  // What the one has is not what the other leaves out.
  auto linear = parse({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                       {"rope_parameters", yarn},
                       {"rope_theta", 7.0}});
  ASSERT_TRUE(linear.ok()) << linear.status().message();
  EXPECT_EQ(linear->theta, 7);
  EXPECT_EQ(linear->original_context, 0);
  const Status split =
      parse({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}, {"rope_parameters", none}})
          .status();
  EXPECT_NE(split.message().find("rope_theta"), std::string::npos) << split.message();
}

TEST(RopeConfig, TheContextOfBefore) {
  Json config = Yarn(Json::object());
  config["original_max_position_embeddings"] = 32;
  EXPECT_EQ(RopeConfig::Parse(config)->original_context, 32);
  Json written;
  RopeConfig::Parse(config)->Write(written);
  EXPECT_EQ(written["rope_parameters"]["original_max_position_embeddings"].dump(), "32");
  config["rope_parameters"]["rope_type"] = "linear";
  EXPECT_EQ(RopeConfig::Parse(config)->original_context, 64);
}

TEST(RopeConfig, SaysWhatIsWrong) {
  for (const auto& [more, part] :
       {std::pair<Json, const char*>{{{"truncate", 1}}, "truncate"},
        {{{"mscale", "deep"}}, "mscale"},
        {{{"factor", nullptr}}, "no factor"},
        {{{"beta_fast", -1}, {"beta_slow", -2}}, "beta_fast is -1 and beta_slow -2"},
        {{{"attention_factor", -1.0}}, "attention_factor is -1"},
        {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor is 0.5"},
        {{{"rope_type", "longrope"}}, "rope_type is \"longrope\""}}) {
    auto rope = RopeConfig::Parse(Yarn(more));
    ASSERT_FALSE(rope.ok()) << more;
    EXPECT_NE(rope.status().message().find(part), std::string::npos) << rope.status().message();
  }
  const Status partial = RopeConfig::Parse({{"partial_rotary_factor", 0.5}}).status();
  EXPECT_EQ(partial.message(), "partial_rotary_factor is 0.5, only 1 is supported");
}

}  // namespace
}  // namespace ds::model
