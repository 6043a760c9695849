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

}  // namespace
}  // namespace ds
