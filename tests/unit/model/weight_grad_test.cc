// The gradient of a weight over many rows: in two sums where the weight is small for them.
#include "model/weight_grad.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "support/local_param_store.h"

namespace ds::model {
namespace {

using kernels::GemmShape;

GemmShape ShapeOf(int64_t m, int64_t n, int64_t rows, bool accumulate = false) {
  GemmShape shape = WeightGradShape(rows, m, m + 3, n, n, DType::kF32);
  shape.accumulate = accumulate;
  return shape;
}

std::vector<float> Draws(int64_t n, uint64_t stream) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(RandomNormal(3, stream, i));
  }
  return values;
}

TEST(WeightGrad, IsInPartsWhereRowsAreMany) {
  EXPECT_EQ(WeightGradFloats(ShapeOf(128, 512, 768)), 2 * 128 * 512);
  EXPECT_EQ(WeightGradFloats(ShapeOf(768, 3072, 256)), 0);
  EXPECT_EQ(WeightGradFloats(ShapeOf(4, 4, 255)), 0);
  bool before = false;
  for (int64_t rows = 0; rows < 4096; rows += 32) {
    const bool now = WeightGradFloats(ShapeOf(100, 300, rows)) > 0;
    ASSERT_TRUE(now || !before) << rows;
    before = now;
  }
  EXPECT_TRUE(before);
}

// Whatever the number of rows, the sum is that of the whole product but for its rounding, and has
// the same bits on any pool.
TEST(WeightGrad, IsTheProductOnAnyPool) {
  test::LocalParamStore store(DType::kF32);
  const auto gemm = kernels::CreateSimdGemm();
  const kernels::Ops& ops = kernels::BestOps(DType::kF32);
  for (const int64_t rows : {0, 255, 256, 257, 770}) {
    for (const bool accumulate : {false, true}) {
      const GemmShape shape = ShapeOf(33, 47, rows, accumulate);
      const auto a = Draws(rows * shape.lda, 1), b = Draws(rows * shape.ldb, 2);
      const auto start = Draws(shape.m * shape.n, 3);
      const auto run = [&](int threads) {
        TaskPool pool(threads);
        const Compute compute{store, pool, *gemm, ops};
        std::vector<float> scratch(static_cast<size_t>(WeightGradFloats(shape)), NAN), dw = start;
        WeightGrad(compute, shape, a.data(), b.data(), dw.data(), scratch.data());
        return dw;
      };
      const std::vector<float> got = run(1);
      EXPECT_EQ(run(2), got) << rows;
      EXPECT_EQ(run(3), got) << rows;
      for (int64_t i = 0; i < shape.m; ++i) {
        for (int64_t j = 0; j < shape.n; ++j) {
          const auto at = static_cast<size_t>(i * shape.n + j);
          double want = accumulate ? start[at] : 0.0;
          for (int64_t r = 0; r < rows; ++r) {
            want += double{a[static_cast<size_t>(r * shape.lda + i)]} *
                    b[static_cast<size_t>(r * shape.ldb + j)];
          }
          ASSERT_NEAR(got[at], want, 1e-4) << rows << " rows, " << i << " " << j;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ds::model
