// The faults of tests/fault, a hundred times each, on every stage.
#include "support/fault_rig.h"

namespace ds::test {
namespace {

class FaultSoak : public testing::TestWithParam<std::tuple<Phase, int, bool>> {};

TEST_P(FaultSoak, EveryPeerNamesRankAndOperation) {
  const auto [phase, stage, overlap] = GetParam();
  for (int part = 0; part < 5; ++part) RunFaults(phase, stage, overlap, 20, 1.0);
}

INSTANTIATE_TEST_SUITE_P(Phases, FaultSoak,
                         testing::Combine(testing::ValuesIn(kPhases), testing::Values(0, 1, 2, 3),
                                          testing::Bool()));

}  // namespace
}  // namespace ds::test
