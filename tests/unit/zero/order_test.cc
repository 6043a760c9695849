#include "zero/order.h"

#include <gtest/gtest.h>

#include <vector>

namespace ds::zero {
namespace {

std::vector<int> Coming(const Order& order) {
  const auto coming = order.Coming();
  return {coming.begin(), coming.end()};
}

TEST(Order, TheFirstStepForetellsTheSecond) {
  Order order;
  for (const int unit : {0, 1, 2, 1}) {
    EXPECT_TRUE(Coming(order).empty());
    order.Use(unit);
  }
  order.EndStep();
  EXPECT_EQ(Coming(order), (std::vector<int>{0, 1, 2, 1}));
  order.Use(0);
  order.Use(1);
  EXPECT_EQ(Coming(order), (std::vector<int>{2, 1}));
}

TEST(Order, ADifferentUseEndsPredictionForThatStepAlone) {
  Order order;
  for (const int unit : {0, 1, 2}) order.Use(unit);
  order.EndStep();
  for (const int unit : {0, 2, 1}) order.Use(unit);
  EXPECT_TRUE(Coming(order).empty());
  order.EndStep();
  EXPECT_EQ(Coming(order), (std::vector<int>{0, 2, 1}));  // what was seen last
}

TEST(Order, MoreUsesThanForetoldAreFine) {
  Order order;
  order.Use(3);
  order.EndStep();
  for (int i = 0; i < 3; ++i) order.Use(3);
  EXPECT_TRUE(Coming(order).empty());
  order.EndStep();
  EXPECT_EQ(Coming(order), (std::vector<int>{3, 3, 3}));
  order.EndStep();  // a step without a use foretells nothing
  EXPECT_TRUE(Coming(order).empty());
}

TEST(Order, AProgramThatNeverStepsKeepsAShortRecord) {
  Order order;
  for (int i = 0; i < 1'000'000; ++i) order.Use(i % 7);
  order.EndStep();
  EXPECT_LT(order.Coming().size(), 100'000u);
  order.Use(0);
  EXPECT_EQ(order.Coming()[0], 1);
}

}  // namespace
}  // namespace ds::zero
