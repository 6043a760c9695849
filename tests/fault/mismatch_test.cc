// Ranks that register or configure something else: all of them say what, and in the same words.
#include "support/mismatch_rig.h"

namespace ds::test {
namespace {

class MismatchTest : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(MismatchTest, IsNamedOnEveryRank) {
  const auto [stage, overlap] = GetParam();
  RunMismatches(stage, overlap, 20);
}

INSTANTIATE_TEST_SUITE_P(Stage, MismatchTest,
                         testing::Combine(testing::Values(0, 3), testing::Bool()));

}  // namespace
}  // namespace ds::test
