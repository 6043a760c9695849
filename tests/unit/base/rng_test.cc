#include "base/rng.h"

#include <gtest/gtest.h>

#include <set>

namespace ds {
namespace {

using Counter = std::array<uint32_t, 4>;

// The known answers of philox4x32-10 that Random123 publishes (examples/kat_vectors).
TEST(Rng, PhiloxGivesThePublishedAnswers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}),
            (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, SeedStreamAndIndexAreAllUsedInFull) {
  std::set<Counter> seen;
  for (const uint64_t bit :
       {uint64_t{0}, uint64_t{1}, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63}) {
    seen.insert(RandomBits(bit, 0, 0));
    seen.insert(RandomBits(0, bit, 0));
    seen.insert(RandomBits(0, 0, bit));
  }
  EXPECT_EQ(seen.size(), 13u);  // (0, 0, 0) came three times
}

TEST(Rng, UniformIsInRangeAndEven) {
  constexpr int kDraws = 20000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = RandomUniform(1, 2, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  const double mean = sum / kDraws;
  EXPECT_NEAR(mean, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(squares / kDraws - mean * mean, 1.0 / 12, 0.002);
}

TEST(Rng, NormalHasTheMomentsOfOne) {
  constexpr int kDraws = 40000;
  std::array<double, 5> moments = {};
  for (int i = 0; i < kDraws; ++i) {
    const double x = RandomNormal(3, 4, i);
    ASSERT_TRUE(std::isfinite(x));
    double power = 1;
    for (double& m : moments) {
      m += power / kDraws;
      power *= x;
    }
  }
  EXPECT_NEAR(moments[1], 0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15.0 / kDraws));
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96.0 / kDraws));
}

TEST(Rng, BelowCoversItsRangeEvenly) {
  constexpr int kDraws = 14000;
  std::array<int, 7> counts = {};
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t k = RandomBelow(5, 6, i, 7);
    ASSERT_LT(k, 7u);
    ++counts[k];
  }
  for (const int n : counts) EXPECT_NEAR(n, kDraws / 7, 5 * std::sqrt(kDraws / 7.0));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(RandomBelow(5, 6, i, 1), 0u);
}

}  // namespace
}  // namespace ds
