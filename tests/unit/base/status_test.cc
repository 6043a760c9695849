#include "base/status.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

namespace ds {
namespace {

Result<std::unique_ptr<int>> Make(int value) {
  if (value < 0) return InvalidArgument("value is {}, not 0 or more", value);
  return std::make_unique<int>(value);
}

Status Use(int value, int& out) {
  DS_ASSIGN(const std::unique_ptr<int> made, Make(value));
  out = *made;
  DS_TRY(value == 7 ? Error(Code::kIo, "seven") : Status());
  out += 100;
  return {};
}

TEST(Status, DefaultIsOk) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().code(), Code::kOk);
  EXPECT_EQ(Status().message(), "");
}

TEST(Status, MacrosReturnTheFirstFailureAsItIs) {
  int out = 0;
  EXPECT_TRUE(Use(1, out).ok());
  EXPECT_EQ(out, 101);

  const Status negative = Use(-3, out);
  EXPECT_EQ(negative.code(), Code::kInvalidArgument);
  EXPECT_EQ(negative.message(), "value is -3, not 0 or more");
  EXPECT_EQ(out, 101);

  const Status seven = Use(7, out);
  EXPECT_EQ(seven.code(), Code::kIo);
  EXPECT_EQ(seven.message(), "seven");
  EXPECT_EQ(out, 7);
}

TEST(Status, ResultMovesItsValueOut) {
  auto made = Make(5);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(**made, 5);
  const std::unique_ptr<int> taken = std::move(made).Take();
  EXPECT_EQ(*taken, 5);
}

TEST(Status, AMessageIsOneLineOfUtf8) {
  EXPECT_EQ(OneLine("a\nb\tc\x1b[1m\x7f"), "a\\nb\\tc\\x1b[1m\\x7f");
  // Of one to four bytes, and the last ones of each.
  const std::string text = "\u00e9\u07ff\u0800\ud7ff\uffff\U00010000\U0010ffff";
  EXPECT_EQ(OneLine(text), text);
  // Alone, cut, overlong, a surrogate, beyond the last.
  EXPECT_EQ(OneLine("\x80 \xee \xc3"), "\\x80 \\xee \\xc3");
  EXPECT_EQ(OneLine("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(OneLine("\xc0\xaf \xe0\x9f\xbf"), "\\xc0\\xaf \\xe0\\x9f\\xbf");
  EXPECT_EQ(OneLine("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(OneLine("\xf4\x90\x80\x80\xff"), "\\xf4\\x90\\x80\\x80\\xff");
}

TEST(Status, EveryCodeHasItsOwnName) {
  std::string names;
  for (int code = 0; code < 500; ++code) {
    const std::string name = CodeName(static_cast<Code>(code));
    if (name == CodeName(static_cast<Code>(9999))) continue;
    EXPECT_EQ(names.find("[" + name + "]"), std::string::npos) << name;
    names += "[" + name + "]";
  }
  EXPECT_EQ(std::count(names.begin(), names.end(), '['), 17);
}

}  // namespace
}  // namespace ds
