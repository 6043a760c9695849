#include "base/failpoint.h"

#include <gtest/gtest.h>

#include <chrono>
#include <new>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ds::failpoint {
namespace {

class Failpoint : public testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(Arm("").ok()); }
};

Status Pass(const char* name, int rank = -1) {
  DS_FAILPOINT(name, rank);
  return {};
}

std::string WhyNot(std::string_view plans) { return Arm(plans).message(); }

TEST_F(Failpoint, SwitchedOffItDoesNothing) {
  ASSERT_TRUE(Arm("").ok());
  EXPECT_FALSE(armed);
  EXPECT_TRUE(Pass("alloc").ok());
  EXPECT_EQ(Hits("alloc"), 0);
}

TEST_F(Failpoint, ActsAtOnePassageOrFromItOn) {
  ASSERT_TRUE(Arm("alloc=2:fail:101;hook=2+:fail:5").ok());
  EXPECT_TRUE(Pass("alloc").ok());
  const Status failed = Pass("alloc");
  EXPECT_EQ(failed.code(), Code::kIo);
  EXPECT_EQ(failed.message(), "failpoint 'alloc'");
  EXPECT_TRUE(Pass("alloc").ok());
  EXPECT_EQ(Hits("alloc"), 3);
  EXPECT_TRUE(Pass("hook").ok());
  EXPECT_EQ(Pass("hook").code(), Code::kConfig);
  EXPECT_EQ(Pass("hook").code(), Code::kConfig);
  EXPECT_TRUE(Pass("file.write").ok());
}

TEST_F(Failpoint, Throws) {
  ASSERT_TRUE(Arm("alloc=1:oom;hook=1:throw").ok());
  EXPECT_THROW((void)Pass("alloc"), std::bad_alloc);
  EXPECT_THROW((void)Pass("hook"), std::runtime_error);
}

TEST_F(Failpoint, CountsAndWaits) {
  ASSERT_TRUE(Arm("alloc=1:count;hook=1:delay:20").ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int pass = 0; pass < 100; ++pass) EXPECT_TRUE(Pass("alloc").ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Hits("alloc"), 400);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Pass("hook").ok());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(20));
}

TEST_F(Failpoint, MeansOneRankWhereARankIsNamed) {
  ASSERT_TRUE(Arm("comm.barrier@1=2:fail:200").ok());
  for (int rank : {0, 1, 2, 0}) EXPECT_TRUE(Pass("comm.barrier", rank).ok());
  EXPECT_EQ(Hits("comm.barrier"), 1);
  EXPECT_EQ(Pass("comm.barrier", 1).code(), Code::kComm);
}

TEST_F(Failpoint, RefusesAPlanThatItCannotRead) {
  ASSERT_TRUE(Arm("alloc=1:count").ok());
  EXPECT_EQ(WhyNot("aloc=1:oom"),
            "failpoint 'aloc=1:oom': there is no 'aloc', the nearest is 'alloc'");
  EXPECT_EQ(WhyNot("alloc=x:oom"), "failpoint 'alloc=x:oom': 'x' is not a number from 0");
  EXPECT_EQ(WhyNot("alloc=1:fail"), "failpoint 'alloc=1:fail': '' is not a number from 0");
  EXPECT_EQ(WhyNot("alloc=1:oom:3"), "failpoint 'alloc=1:oom:3': 'oom' takes no '3'");
  EXPECT_EQ(WhyNot("alloc=1:burn"),
            "failpoint 'alloc=1:burn': 'burn' is no action, expected oom, throw, fail, delay or "
            "count");
  EXPECT_EQ(WhyNot("alloc@one=1:oom"), "failpoint 'alloc@one=1:oom': 'one' is not a number from 0");
  EXPECT_TRUE(Pass("alloc").ok());
  EXPECT_EQ(Hits("alloc"), 1);  // the old plan stands
}

TEST_F(Failpoint, HasEveryNameOnce) {
  std::set<std::string_view> names;
  for (const Point& point : Points()) {
    EXPECT_TRUE(names.insert(point.name).second) << point.name;
    EXPECT_FALSE(point.where.empty()) << point.name;
  }
}

}  // namespace
}  // namespace ds::failpoint
