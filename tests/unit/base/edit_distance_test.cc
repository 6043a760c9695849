#include "base/edit_distance.h"

#include <gtest/gtest.h>

namespace ds {
namespace {

TEST(EditDistance, CountsInsertedDroppedAndReplacedCharacters) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("stage", "stage"), 0);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("zero_optimisation", "zero_optimization"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("ab", "ba"), 2);
}

TEST(Nearest, IsOneOfWhichMostLettersAreRight) {
  const std::vector<std::string> names = {"aio", "lr", "steps"};
  EXPECT_EQ(Nearest("stpes", names), "steps");
  EXPECT_EQ(Nearest("lrr", names), "lr");
  EXPECT_EQ(Nearest("foo", names), "");
  EXPECT_EQ(Nearest("warmup", names), "");
}

}  // namespace
}  // namespace ds
