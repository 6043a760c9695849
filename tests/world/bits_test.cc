// Under a launcher every world is that of its processes as well, and the same to the bit.
// A stage is a placement: at one world size every stage, overlap setting and number of threads
// gives the same bits; gradients that sum exactly give the same bits at every world size.
#include <gtest/gtest.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "comm/launcher.h"
#include "support/sanitizer.h"
#include "toy.h"

namespace ds::toy {
namespace {

void ExpectSameBits(const Outcome& want, const Outcome& got, const std::string& label) {
  ASSERT_EQ(want.state.size(), got.state.size()) << label;
  for (const auto& [name, a] : want.state) {
    const auto& b = got.state.at(name);
    ASSERT_EQ(a.size(), b.size()) << label << " " << name;
    if (a.empty()) continue;
    ASSERT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << label << " " << name;
  }
  ASSERT_EQ(want.norms, got.norms) << label;
  ASSERT_EQ(want.scales, got.scales) << label;
  ASSERT_EQ(want.sights, got.sights) << label;
}

Outcome MustTrain(const Trial& run) {
  Outcome out;
  const Status status = TrainWorld(run, out);
  EXPECT_TRUE(status.ok()) << status.message();
  if (const auto launch = comm::FindLaunch(); launch && run.world <= launch->size) {
    Outcome there;
    const Status in_job = TrainJob(run, there);
    EXPECT_TRUE(in_job.ok()) << in_job.message();
    if (launch->rank < run.world) ExpectSameBits(out, there, "processes");
  }
  return out;
}

class Bits : public testing::TestWithParam<std::tuple<int, DType, int>> {};

TEST_P(Bits, EveryStageAndOverlapGivesTheSame) {
  const auto [world, dtype, accumulation] = GetParam();
  Trial run{.world = world, .dtype = dtype, .accumulation = accumulation};
  const Outcome want = MustTrain(run);
  ASSERT_FALSE(want.state.empty());
  for (int stage = 0; stage <= 3; ++stage) {
    for (const bool overlap : {false, true}) {
      for (const int threads : {1, 2}) {
        run.stage = stage;
        run.overlap = overlap;
        run.threads = threads;
        ExpectSameBits(want, MustTrain(run),
                       fmt::format("stage {} overlap {} threads {}", stage, overlap, threads));
      }
    }
  }
}

// Weights, or everything, sharded inside groups: more rows of the same table.
TEST_P(Bits, EveryHierarchyGivesTheSame) {
  const auto [world, dtype, accumulation] = GetParam();
  if (world != 2 && world != 4) return;
  Trial run{.world = world, .dtype = dtype, .accumulation = accumulation};
  const Outcome want = MustTrain(run);
  run.stage = 3;
  for (const char* groups : {R"("mics_shard_size": 1,)", R"("mics_shard_size": 2,)",
                             R"("zero_hpz_partition_size": 2,)"}) {
    for (const bool overlap : {false, true}) {
      run.groups = groups;
      run.overlap = overlap;
      ExpectSameBits(want, MustTrain(run), fmt::format("{} overlap {}", groups, overlap));
    }
  }
}

// The device of its own that every machine has: what it gives is what the host gives.
TEST_P(Bits, TheTestDeviceGivesTheSame) {
  const auto [world, dtype, accumulation] = GetParam();
  Trial run{.world = world, .dtype = dtype, .accumulation = accumulation};
  const Outcome want = MustTrain(run);
  run.device = true;
  for (const char* groups : {"", R"("mics_shard_size": 1,)", R"("mics_shard_size": 2,)",
                             R"("zero_hpz_partition_size": 2,)"}) {
    if (*groups != 0 && world != 2 && world != 4) continue;
    for (int stage = *groups != 0 ? 3 : 0; stage <= 3; ++stage) {
      for (const bool overlap : {false, true}) {
        run.stage = stage;
        run.overlap = overlap;
        run.groups = groups;
        ExpectSameBits(want, MustTrain(run),
                       fmt::format("device stage {} {} overlap {}", stage, groups, overlap));
      }
    }
  }
}

// Rules that look at whole parameters, or whole matrices, whose elements lie on several ranks.
TEST(BitsOfRules, EveryStageGivesTheSame) {
  for (const char* rule : {"Lamb", "Muon", "Lion", "SGD", "Adagrad"}) {
    if ((test::kUnderTsan || test::kUnderAsan) && std::string_view(rule) == "Lion")
      break;  // the rest go the way of AdamW
    Trial run{.world = 4, .dtype = DType::kBF16, .rule = rule};
    const Outcome want = MustTrain(run);
    for (int stage = 0; stage <= 3; ++stage) {
      for (const char* groups :
           {"", R"("mics_shard_size": 2,)", R"("zero_hpz_partition_size": 2,)"}) {
        if (*groups != 0 && stage != 3) continue;
        run.stage = stage;
        run.groups = groups;
        run.threads = 1 + stage % 2;
        for (const bool device : {false, true}) {
          run.device = device;
          ExpectSameBits(want, MustTrain(run),
                         fmt::format("{} stage {} {} device {}", rule, stage, groups, device));
        }
      }
    }
  }
}

std::vector<DType> TypesToTry() {
  if (test::kUnderAsan || test::kUnderTsan) return {DType::kF32, DType::kBF16};  // fp16 is as bf16
  return {DType::kF32, DType::kBF16, DType::kF16};
}
INSTANTIATE_TEST_SUITE_P(World, Bits,
                         testing::Combine(testing::Values(1, 2, 3, 4),
                                          testing::ValuesIn(TypesToTry()), testing::Values(1, 3)));

TEST(BitsAcrossWorlds, IntegerGradientsGiveTheSame) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int accumulation : {1, 2}) {
      Trial run{.dtype = dtype, .accumulation = accumulation, .integers = true};
      const Outcome want = MustTrain(run);
      for (const int world : {2, 3, 4}) {  // k * 3 * (1.0f / 3) is k as well, for small k
        for (int stage = 0; stage <= 3; ++stage) {
          run.world = world;
          run.stage = stage;
          ExpectSameBits(want, MustTrain(run), fmt::format("world {} stage {}", world, stage));
        }
      }
    }
  }
}

TEST(BitsAcrossWorlds, NormIsThatOfTheMean) {
  // One step with known gradients: the norm in double, computed here from the definition.
  Trial run{.world = 3, .stage = 2, .accumulation = 2, .steps = 1};
  double sum = 0;
  for (size_t p = 0; p < Params().size(); ++p) {
    if (Params()[p].frozen) continue;
    int64_t numel = 1;
    for (const int64_t extent : Params()[p].shape) numel *= extent;
    for (int64_t i = 0; i < numel; ++i) {
      double mean = 0;
      for (int rank = 0; rank < 3; ++rank) {
        for (int micro = 0; micro < 2; ++micro) {
          mean += GradAt(run, 0, micro, rank, static_cast<int>(p), i) / 6.0;
        }
      }
      sum += mean * mean;
    }
  }
  const Outcome out = MustTrain(run);
  ASSERT_EQ(out.norms.size(), 1u);
  EXPECT_NEAR(out.norms[0], std::sqrt(sum), 1e-6 * std::sqrt(sum));
}

TEST(Bits, TrainingMovesTheWeights) {
  Trial run{.world = 2, .stage = 3, .steps = 0};
  const Outcome before = MustTrain(run);
  run.steps = 5;
  const Outcome after = MustTrain(run);
  EXPECT_NE(before.state.at("a/master"), after.state.at("a/master"));
}

}  // namespace
}  // namespace ds::toy
