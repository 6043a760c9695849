// The ends of tests/fault/kill_test.cc, a hundred times each.
#include "support/kill_rig.h"

namespace ds::test {
namespace {

class KillSoak : public testing::TestWithParam<std::tuple<End, Phase>> {};

TEST_P(KillSoak, EveryPeerNamesTheRank) {
  const auto [end, phase] = GetParam();
  for (int round = 0; round < 100; ++round) {
    KillOne(end, phase, round, end == End::kStopped ? 1.0 : 20.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Ends, KillSoak,
                         testing::Combine(testing::Values(End::kKilled, End::kStopped, End::kExits),
                                          testing::ValuesIn(kPhases)));

}  // namespace
}  // namespace ds::test
