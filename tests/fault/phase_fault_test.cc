// A rank that fails, returns, throws or stalls in each phase of a run, on every kind of placement.
#include "support/fault_rig.h"

namespace ds::test {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRounds = 4;
constexpr double kPhaseStallSeconds = 2;  // healthy ranks must not look late on a busy machine
#else
constexpr int kRounds = 20;
constexpr double kPhaseStallSeconds = 0.3;
#endif

class PhaseFault : public testing::TestWithParam<std::tuple<Phase, int, bool>> {};

TEST_P(PhaseFault, EveryPeerNamesRankAndOperation) {
  const auto [phase, stage, overlap] = GetParam();
  RunFaults(phase, stage, overlap, kRounds, kPhaseStallSeconds);
}

INSTANTIATE_TEST_SUITE_P(Phases, PhaseFault,
                         testing::Combine(testing::ValuesIn(kPhases), testing::Values(0, 3),
                                          testing::Bool()));

}  // namespace
}  // namespace ds::test
