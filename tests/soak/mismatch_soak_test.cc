// The mismatches of tests/fault, a hundred times each, on every stage.
#include "support/mismatch_rig.h"

namespace ds::test {
namespace {

class MismatchSoak : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(MismatchSoak, IsNamedOnEveryRank) {
  const auto [stage, overlap] = GetParam();
  RunMismatches(stage, overlap, 100);
}

INSTANTIATE_TEST_SUITE_P(Stages, MismatchSoak,
                         testing::Combine(testing::Values(0, 1, 2, 3), testing::Bool()));

}  // namespace
}  // namespace ds::test
