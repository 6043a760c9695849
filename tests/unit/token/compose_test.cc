#include "token/compose.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace ds::token {
namespace {

TEST(Compose, PutsTogether) {
  EXPECT_EQ(ComposeNfc("e\u0301x"), "\u00e9x");
  EXPECT_EQ(ComposeNfc("A\u030a"), "\u00c5");
  EXPECT_EQ(ComposeNfc("\u212b"), "\u00c5");                // the sign is the letter
  EXPECT_EQ(ComposeNfc("q\u0307\u0323"), "q\u0323\u0307");  // in the order of their classes
  EXPECT_EQ(ComposeNfc("d\u0307\u0323"), "\u1e0d\u0307");   // the first mark is not in the way
  EXPECT_EQ(ComposeNfc("a\u0300\u0300"), "\u00e0\u0300");   // of one class: it is
  EXPECT_EQ(ComposeNfc("\u1100\u1161\u11a8"), "\uac01");    // Hangul
  EXPECT_EQ(ComposeNfc("\uac00\u11a8"), "\uac01");
  EXPECT_EQ(ComposeNfc("\uac01\u11a8"), "\uac01\u11a8");
  EXPECT_EQ(ComposeNfc("\u0958"), "\u0915\u093c");  // excluded from composition
  EXPECT_EQ(ComposeNfc("\u0344"), "\u0308\u0301");
  EXPECT_EQ(ComposeNfc("\u0301a"), "\u0301a");  // nothing before it
  EXPECT_EQ(ComposeNfc("\u1e9b\u0323"), "\u1e9b\u0323");
  EXPECT_EQ(ComposeNfc("\U000110a5\U000110ba"), "\U000110ab");  // beyond the first plane
}

TEST(Compose, LeavesTheRest) {
  for (const char* text : {"", "abc", "\u00e9\u00df", "\ufb01", "a\xff\u0301", "\xcc", "e\xcc"}) {
    EXPECT_EQ(ComposeNfc(text), text);
  }
  EXPECT_EQ(ComposeNfc("\xff"
                       "e\u0301"),
            "\xff\u00e9");
}

TEST(Compose, IsItsOwnNormalForm) {
  std::string all;
  for (uint32_t c = 0x80; c < 0x30000; ++c) {
    if (c < 0xD800 || c >= 0xE000) AppendUtf8(c, all);
  }
  const std::string once = ComposeNfc(all);
  EXPECT_EQ(ComposeNfc(once), once);
}

TEST(Compose, ManyMarksTakeNoQuadraticTime) {
  std::string text = "a";
  while (text.size() < size_t{1} << 20) text += "\u0323\u0307";
  EXPECT_EQ(ComposeNfc(text).size(), text.size());
}

}  // namespace
}  // namespace ds::token
