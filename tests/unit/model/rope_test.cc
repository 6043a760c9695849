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
      {{{"mscale", 0.7}, {"mscale_all_dim", nullptr}, {"truncate", nullptr}}, whole, 1.138629436},
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

TEST(RopeConfig, SaysWhatIsWrong) {
  for (const auto& [more, part] :
       {std::pair<Json, const char*>{{{"truncate", 1}}, "truncate"},
        {{{"mscale", "deep"}}, "mscale"},
        {{{"factor", nullptr}}, "no factor"},
        {{{"attention_factor", -1.0}}, "attention_factor is -1"},
        {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor is 0.5"},
        {{{"rope_type", "longrope"}}, "rope_type is \"longrope\""}}) {
    auto rope = RopeConfig::Parse(Yarn(more));
    ASSERT_FALSE(rope.ok()) << more;
    EXPECT_NE(rope.status().message().find(part), std::string::npos) << rope.status().message();
  }
}

}  // namespace
}  // namespace ds::model
