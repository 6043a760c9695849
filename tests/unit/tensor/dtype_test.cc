#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ds {
namespace {

float Decode(uint32_t bits) { return static_cast<float>(std::bit_cast<BF16>(uint16_t(bits))); }

TEST(BF16, EveryValueSurvivesTheWayThere) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = Decode(bits);
    const BF16 back(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(back))) << bits;
    } else {
      ASSERT_EQ(back.bits, bits);
    }
  }
}

// Against the definition: the nearer neighbour, and of two equally near the even one.
TEST(BF16, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7F7F; ++bits) {  // finite, with a finite successor
    const double low = Decode(bits), high = Decode(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    const auto below = std::nextafter(middle, 0.0f);
    const auto above = std::nextafter(middle, std::numeric_limits<float>::infinity());
    ASSERT_EQ(BF16(middle).bits, bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(BF16(below).bits, bits) << bits;
    ASSERT_EQ(BF16(above).bits, bits + 1) << bits;
    ASSERT_EQ(BF16(-middle).bits, BF16(middle).bits | 0x8000) << bits;
  }
}

TEST(BF16, WhatIsTooLargeBecomesInfinite) {
  EXPECT_EQ(BF16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_EQ(BF16(-std::numeric_limits<float>::infinity()).bits, 0xFF80);
  // A NaN whose payload is in the lower half only must not become an infinity.
  EXPECT_TRUE(std::isnan(static_cast<float>(BF16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace ds
