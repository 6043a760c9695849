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

float DecodeHalf(uint32_t bits) { return static_cast<float>(std::bit_cast<F16>(uint16_t(bits))); }

// From the definition in IEEE 754: sign, 5 bits of exponent, 10 of mantissa.
double HalfByDefinition(uint32_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(F16, EveryValueIsAsDefinedAndSurvivesTheWayThere) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = DecodeHalf(bits);
    const double want = HalfByDefinition(bits);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_EQ(F16(value).bits, bits | 0x200) << bits;
    } else {
      ASSERT_EQ(value, want) << bits;
      ASSERT_EQ(F16(value).bits, bits);
    }
  }
}

TEST(F16, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {  // finite, with a finite successor
    const double low = DecodeHalf(bits), high = DecodeHalf(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    const auto below = std::nextafter(middle, 0.0f);
    const auto above = std::nextafter(middle, std::numeric_limits<float>::infinity());
    ASSERT_EQ(F16(middle).bits, bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(F16(below).bits, bits) << bits;
    ASSERT_EQ(F16(above).bits, bits + 1) << bits;
    ASSERT_EQ(F16(-middle).bits, F16(middle).bits | 0x8000) << bits;
  }
}

TEST(F16, WhatIsTooLargeBecomesInfinite) {
  EXPECT_EQ(F16(65504.0f).bits, 0x7BFF);
  EXPECT_EQ(F16(std::nextafter(65520.0f, 0.0f)).bits, 0x7BFF);
  EXPECT_EQ(F16(65520.0f).bits, 0x7C00);
  EXPECT_EQ(F16(-std::numeric_limits<float>::infinity()).bits, 0xFC00);
  EXPECT_TRUE(std::isnan(static_cast<float>(F16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace ds
