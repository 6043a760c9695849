#include "zero/agreement.h"

#include <gtest/gtest.h>

#include <functional>

namespace ds::zero {
namespace {

// What every rank is told: checks that it is the same.
Status OnRanks(int world, const std::function<Status(comm::Communicator&)>& body) {
  std::vector<Status> ends(world);
  (void)comm::RunThreads(world, {.timeout_seconds = 30}, [&](comm::Communicator& comm) {
    ends[comm.rank()] = body(comm);
    return Status();
  });
  for (const Status& end : ends) EXPECT_EQ(end.message(), ends[0].message());
  return ends[0];
}

using List = std::vector<Declaration>;

TEST(Agreement, TheFirstDifferenceIsNamedAlikeEverywhere) {
  const auto agree = [](const List& zero, const List& two) {
    return OnRanks(
        3, [&](comm::Communicator& comm) { return Agree(comm, comm.rank() == 2 ? two : zero); });
  };
  const List list = {{1, "a [2]"}, {2, "b [3]"}, {3, "c [4]"}};
  EXPECT_TRUE(agree(list, list).ok());
  EXPECT_TRUE(agree({}, {}).ok());

  const Status shape = agree(list, {{1, "a [2]"}, {9, "b [5]"}, {8, "c [6]"}});
  EXPECT_EQ(shape.code(), Code::kRankMismatch);
  EXPECT_EQ(shape.message(), "parameter 1: rank 0 registered b [3], rank 2 registered b [5]");
  EXPECT_EQ(agree(list, {list[0], list[2], list[1]}).message(),
            "parameter 1: rank 0 registered b [3], rank 2 registered c [4]");
  EXPECT_EQ(agree(list, {list[0], list[1]}).message(),
            "parameter 2: rank 0 registered c [4], rank 2 registered nothing more");
  EXPECT_EQ(agree({}, list).message(),
            "parameter 0: rank 0 registered nothing more, rank 2 registered a [2]");
  EXPECT_EQ(agree(list, {{7, "a [2]"}, list[1], list[2]}).message(),
            "parameter 0 (a [2]): ranks 0 and 2 gave different initial values");
}

TEST(Agreement, OfConfigsTheFirstLineThatDiffersIsNamed) {
  const auto agree = [](std::string_view zero, std::string_view one) {
    return OnRanks(2, [&](comm::Communicator& comm) {
      return AgreeOnConfig(comm, comm.rank() == 1 ? one : zero);
    });
  };
  const char* config = "{\n  \"lr\": 0.1,\n  \"stage\": 3\n}";
  EXPECT_TRUE(agree(config, config).ok());
  EXPECT_TRUE(agree("", "").ok());
  const Status differs = agree(config, "{\n  \"lr\": 0.2,\n  \"stage\": 3\n}");
  EXPECT_EQ(differs.code(), Code::kRankMismatch);
  EXPECT_EQ(differs.message(), "config: rank 0 has \"lr\": 0.1, rank 1 has \"lr\": 0.2");
}

}  // namespace
}  // namespace ds::zero
