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

TEST(Agreement, OfConfigsTheFirstSettingThatDiffersIsNamed) {
  const auto agree = [](const Json& zero, const Json& one) {
    return OnRanks(2, [&](comm::Communicator& comm) {
      return AgreeOnConfig(comm, comm.rank() == 1 ? one : zero);
    });
  };
  const Json config = {{"a", {{"lr", 0.1}, {"stage", 3}}}, {"steps", Json({1, 2})}};
  EXPECT_TRUE(agree(config, config).ok());
  EXPECT_TRUE(agree(Json::object(), Json::object()).ok());
  Json other = config;
  other["a"]["lr"] = 0.2;
  const Status differs = agree(config, other);
  EXPECT_EQ(differs.code(), Code::kRankMismatch);
  EXPECT_EQ(differs.message(), "config: rank 0 has a.lr 0.1, rank 1 has a.lr 0.2");
  other["steps"][1] = 3;
  EXPECT_EQ(agree(config, other).message(),
            "config: rank 0 has steps [1,2], rank 1 has steps [1,3]");
  // The parameters of two types are others; the type says so.
  const Json lion = {{"optimizer", {{"params", {{"betas", Json({0.9, 0.99})}}}, {"type", "Lion"}}}};
  const Json adam = {{"optimizer", {{"params", {{"adam_w_mode", true}}}, {"type", "Adam"}}}};
  EXPECT_EQ(agree(lion, adam).message(),
            "config: rank 0 has optimizer.type \"Lion\", rank 1 has optimizer.type \"Adam\"");
}

}  // namespace
}  // namespace ds::zero
