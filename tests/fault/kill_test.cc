// Ranks that are killed, exit or stop in each phase of a run: tests/support/kill_rig.h.
#include "support/kill_rig.h"

namespace ds::test {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr double kStallSeconds = 3;  // healthy ranks must not look late on a busy machine
#else
constexpr double kStallSeconds = 0.7;
#endif

class Kill : public testing::TestWithParam<Phase> {};

TEST_P(Kill, EveryPeerNamesTheRankThatDied) {
  for (int round = 0; round < 6; ++round) {
    KillOne(round % 3 == 2 ? End::kExits : End::kKilled, GetParam(), round, 20);
  }
}

TEST_P(Kill, EveryPeerNamesTheRankThatWasStopped) {
  KillOne(End::kStopped, GetParam(), 1, kStallSeconds);
}

INSTANTIATE_TEST_SUITE_P(Phases, Kill, testing::ValuesIn(kPhases));

}  // namespace
}  // namespace ds::test
