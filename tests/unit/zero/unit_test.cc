#include "zero/unit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "optim/rules.h"

namespace ds::zero {
namespace {

constexpr int kWorld = 3;
constexpr int64_t kFirst = 50, kSecond = 61;  // the second begins at 56: a gap of 6
constexpr int64_t kSecondBegin = 56, kEnd = kSecondBegin + kSecond;

float InitAt(int64_t element) { return 1.0f + static_cast<float>(element) / 64; }
float GradAt(int64_t element) { return static_cast<float>(element % 7) - 3; }

// One rank's unit, alone: what it does with its own slice needs no peers.
struct Rig {
  Rig(int stage, DType dtype, int rank)
      : comms(std::move(comm::CreateThreads(kWorld, {})).Take()),
        groups(std::move(RankGroups::Create(std::move(comms[rank]), kWorld)).Take()),
        rule(std::move(optim::CreateRule({{"type", "AdamW"}, {"params", {{"weight_decay", 0.25}}}}))
                 .Take()),
        context{.placement = kPlacements[stage],
                .dtype = dtype,
                .groups = groups,
                .lane = pool,
                .ops = kernels::BestOps(dtype),
                .account = account},
        unit(context, "u", rule.get()) {
    std::vector<float> init(kFirst);
    for (int64_t i = 0; i < kFirst; ++i) init[i] = InitAt(i);
    EXPECT_EQ(unit.Append({.name = "first", .shape = {kFirst}, .unit = "u"}, init), 0);
    init.resize(kSecond);
    for (int64_t i = 0; i < kSecond; ++i) init[i] = InitAt(kSecondBegin + i);
    EXPECT_EQ(unit.Append(
                  {.name = "second", .shape = {kSecond}, .unit = "u", .weight_decay = false}, init),
              kSecondBegin);
    EXPECT_EQ(unit.elements(), kEnd);
    EXPECT_TRUE(unit.Place().ok());
  }

  std::vector<float> Piece(const std::string& name) {
    std::vector<float> out;
    EXPECT_TRUE(unit.ForEachPiece([&](const StatePiece& piece) -> Status {
                      EXPECT_EQ(piece.numel, kEnd);
                      EXPECT_EQ(piece.begin, unit.layout().begin(groups.slice()));
                      if (piece.name == name) out.assign(piece.data.begin(), piece.data.end());
                      return {};
                    })
                    .ok());
    return out;
  }

  TaskPool pool{1};
  device::MemoryAccount account;
  std::vector<std::unique_ptr<comm::Communicator>> comms;
  RankGroups groups;
  std::unique_ptr<optim::UpdateRule> rule;
  const UnitContext context;
  Unit unit;
};

bool InGap(int64_t element) { return element >= kFirst && element < kSecondBegin; }

TEST(Unit, IsPlacedOnce) {
  Rig rig(1, DType::kBF16, 0);
  const int64_t bytes = rig.account.total();
  const Status again = rig.unit.Place();
  EXPECT_EQ(again.code(), Code::kInternal);
  EXPECT_EQ(again.message(), "u: its unit is placed a second time");
  EXPECT_EQ(rig.account.total(), bytes);
  EXPECT_EQ(rig.Piece("u/master")[1], InitAt(1));
}

TEST(Unit, KeepsItsSliceOfTheInitialValues) {
  for (int stage = 0; stage <= 3; ++stage) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (int rank = 0; rank < kWorld; ++rank) {
        Rig rig(stage, dtype, rank);
        const auto master = rig.Piece("u/master");
        ASSERT_EQ(static_cast<int64_t>(master.size()), rig.unit.layout().used(rank));
        for (size_t i = 0; i < master.size(); ++i) {
          const int64_t element = rig.unit.layout().begin(rank) + static_cast<int64_t>(i);
          ASSERT_EQ(master[i], InGap(element) ? 0.0f : InitAt(element)) << element;
        }
        EXPECT_EQ(rig.unit.weights, stage == 3 ? Unit::Weights::kSharded : Unit::Weights::kFull);
      }
    }
  }
}

TEST(Unit, BytesAreThoseOfThePlacement) {
  const ShardLayout layout{kEnd, kWorld};
  for (int stage = 0; stage <= 3; ++stage) {
    const Rig rig(stage, DType::kBF16, 1);
    const auto extent = [&](bool sharded) { return sharded ? layout.shard() : layout.padded(); };
    EXPECT_EQ(rig.account.bytes(device::MemoryKind::kWeights), 2 * extent(stage >= 3));
    EXPECT_EQ(rig.account.bytes(device::MemoryKind::kGradients), 2 * extent(stage >= 2));
    EXPECT_EQ(rig.account.bytes(device::MemoryKind::kMaster), 4 * extent(stage >= 1));
    EXPECT_EQ(rig.account.bytes(device::MemoryKind::kMoments), 8 * extent(stage >= 1));
  }
}

// Gradients are written as if reduced (stage 0 keeps them where they arrive).
TEST(Unit, StepsEachParameterByItsOwnRuleAndNothingElse) {
  for (int rank = 0; rank < kWorld; ++rank) {
    Rig rig(0, DType::kF32, rank);
    auto* grad = static_cast<float*>(rig.unit.LocalGrad(0));
    for (int64_t i = 0; i < rig.unit.layout().padded(); ++i) grad[i] = GradAt(i);

    double want = 0;
    for (int64_t i = 0; i < kEnd; ++i) {
      const bool own = i >= rig.unit.layout().begin(rank) &&
                       i < rig.unit.layout().begin(rank) + rig.unit.layout().used(rank);
      if (own && !InGap(i)) want += GradAt(i) * GradAt(i);
    }
    std::vector<double> squares(rig.unit.square_count());
    rig.unit.SumSquares(squares.data());
    EXPECT_DOUBLE_EQ(std::accumulate(squares.begin(), squares.end(), 0.0), want);

    rig.unit.Apply({.step = 1, .lr = 0.5}, {}, nullptr);
    const auto* weights = static_cast<const float*>(rig.unit.Full(0));
    for (int64_t i = 0; i < rig.unit.layout().padded(); ++i) {
      if (i >= kEnd || InGap(i)) {
        ASSERT_EQ(weights[i], 0.0f) << i;
        continue;
      }
      // The first Adam step moves by lr times the sign of the gradient.
      const float sign = GradAt(i) == 0 ? 0.0f : std::copysign(1.0f, GradAt(i));
      const float decay = i < kFirst ? 0.25f * InitAt(i) : 0.0f;
      ASSERT_NEAR(weights[i], InitAt(i) - 0.5f * (sign + decay), 1e-5) << i;
    }
  }
}

TEST(Unit, ZeroesOneGradientAlone) {
  Rig rig(0, DType::kF32, 0);
  auto* grad = static_cast<float*>(rig.unit.LocalGrad(0));
  for (int64_t i = 0; i < kEnd; ++i) grad[i] = 1;
  rig.unit.ZeroLocalGrad(kSecondBegin, kSecond - 1);
  for (int64_t i = 0; i < kEnd; ++i) {
    ASSERT_EQ(grad[i], i < kSecondBegin || i == kEnd - 1 ? 1.0f : 0.0f) << i;
  }
}

}  // namespace
}  // namespace ds::zero
