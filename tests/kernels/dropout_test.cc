// Dropout at every level against the plain reference: to the bit, since only the drawing is done
// differently. And what is drawn: the share that was asked for, alike by its place alone.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/simd/simd.h"
#include "support/ops_rows.h"

namespace ds::kernels {
namespace {

using simd::Level;

template <typename T>
std::vector<T> Random(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<T> x(n);
  for (T& value : x) value = T(normal(engine));
  return x;
}

template <typename T>
std::string Bytes(const std::vector<T>& x) {
  return std::string(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(T));
}

template <typename T>
class DropoutTest : public testing::Test {};
using Types = testing::Types<float, BF16, F16>;
TYPED_TEST_SUITE(DropoutTest, Types);

TYPED_TEST(DropoutTest, LikeTheReference) {
  using T = TypeParam;
  TaskPool one(1), three(3);
  const Ops& ref = RefOps(DTypeOf<T>());
  for (const auto& [rows, width] :
       {std::pair<int64_t, int64_t>(0, 8), {1, 1}, {3, 127}, {5, 128}, {70, 300}, {2, 20000}}) {
    const Dropout dropout(0.3, 7, uint64_t{1} << 40, (int64_t{1} << 33) + 5);
    const auto x = Random<T>(rows * width, 1), bias = Random<T>(width, 2);
    const auto run = [&, rows = rows, width = width](const Ops& ops, TaskPool& pool, int kind) {
      auto y = Random<T>(rows * width, 3);
      if (kind == 0) ops.dropout(pool, rows, width, dropout, x.data(), y.data());
      if (kind == 1) ops.dropout(pool, rows, width, dropout, y.data(), y.data());
      if (kind == 2) ops.dropout_residual(pool, rows, width, dropout, nullptr, x.data(), y.data());
      if (kind == 3) {
        ops.dropout_residual(pool, rows, width, dropout, bias.data(), x.data(), y.data());
      }
      return y;
    };
    for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
      if (level > simd::BestLevel()) continue;
      const Ops ops = At<T>(level);
      for (int kind = 0; kind < 4; ++kind) {
        SCOPED_TRACE(fmt::format("{} {} x {}, {}", simd::LevelName(level), rows, width, kind));
        const auto got = run(ops, three, kind), want = run(ref, one, kind);
        ASSERT_EQ(Bytes(got), Bytes(run(ops, one, kind)));
        if (kind < 2) {
          ASSERT_EQ(Bytes(got), Bytes(want));
        }
        for (size_t i = 0; i < want.size(); ++i) {
          const float w = static_cast<float>(want[i]);
          ASSERT_NEAR(static_cast<float>(got[i]), w,
                      1e-6 + (sizeof(T) == 2 ? 0.01 : 1e-6) * std::abs(w));
        }
      }
    }
  }
}

TEST(Dropout, KeepsTheShareThatWasAskedFor) {
  for (const double rate : {0.001, 0.1, 0.5, 0.9}) {
    const Dropout dropout(rate, 3, 4, 0);
    int64_t kept = 0;
    constexpr int64_t kRows = 1000, kWidth = 200;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kWidth; ++c) kept += dropout.Factor(r, kWidth, c) > 0 ? 1 : 0;
    }
    const double n = kRows * kWidth, want = n * (1 - rate);
    EXPECT_NEAR(static_cast<double>(kept), want, 5 * std::sqrt(n * rate * (1 - rate)) + 1) << rate;
    EXPECT_NEAR(dropout.factor, 1 / (1 - rate), 1e-4 / (1 - rate));
  }
  EXPECT_FALSE(Dropout(0, 3, 4, 0).drops());
}

TEST(Dropout, IsByThePlaceAmongAllRows) {
  const Dropout whole(0.5, 3, 4, 0), later(0.5, 3, 4, 10), other_site(0.5, 3, 5, 0),
      other_seed(0.5, 4, 4, 0);
  int same[2] = {0, 0};
  for (int64_t c = 0; c < 1000; ++c) {
    EXPECT_EQ(whole.Factor(12, 1000, c), later.Factor(2, 1000, c));
    same[0] += whole.Factor(0, 1000, c) == other_site.Factor(0, 1000, c) ? 1 : 0;
    same[1] += whole.Factor(0, 1000, c) == other_seed.Factor(0, 1000, c) ? 1 : 0;
  }
  for (const int count : same) EXPECT_NEAR(count, 500, 80);
}

}  // namespace
}  // namespace ds::kernels
