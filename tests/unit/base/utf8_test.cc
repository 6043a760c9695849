#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace ds {
namespace {

TEST(Utf8, EveryCodePointBothWays) {
  for (uint32_t c = 0; c < kNotUtf8; ++c) {
    std::string text;
    AppendUtf8(c, text);
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    const CodePoint read = ReadUtf8(text, 0);
    ASSERT_EQ(read.value, surrogate ? kNotUtf8 : c);
    ASSERT_EQ(read.bytes, surrogate ? 1 : text.size());
    if (surrogate) continue;
    ASSERT_EQ(ReadUtf8Before("x" + text, text.size() + 1).value, c);
  }
}

TEST(Utf8, RefusesWhatIsNone) {
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe4\xb8", "\xc3", "\xff"}) {
    EXPECT_EQ(ReadUtf8(bad, 0).value, kNotUtf8);
    EXPECT_FALSE(CheckUtf8(bad, "t").ok());
  }
  EXPECT_EQ(CheckUtf8("ab\xc3", "t").message(), "t: byte 2 is 0xc3, which is not UTF-8");
  EXPECT_TRUE(CheckUtf8("\u00e9\U0001F600", "t").ok());
  EXPECT_EQ(LossyUtf8("a\xe4\xb8z\xff\xf0\x9f\x98"), "a\uFFFDz\uFFFD\uFFFD");
  EXPECT_EQ(LossyUtf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");
}

}  // namespace
}  // namespace ds
