// Norms of a gradient as large as a big layer's, against a sum in double with compensation.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/ops.h"

namespace ds::kernels {
namespace {

// Neumaier's sum: its error is that of one rounding.
template <typename T>
double Compensated(const std::vector<T>& x) {
  double sum = 0, lost = 0;
  for (const T& value : x) {
    const double v = static_cast<float>(value), term = v * v, next = sum + term;
    lost += std::abs(sum) >= term ? (sum - next) + term : (term - next) + sum;
    sum = next;
  }
  return sum + lost;
}

// Sizes over many orders of magnitude, so that the order of the sum matters.
template <typename T>
void CompareAtHundredMillion() {
  constexpr int64_t n = 100'000'000;
  std::vector<T> x(n);
  std::mt19937_64 engine(1);
  for (T& value : x) {
    const uint64_t bits = engine();
    const double unit = static_cast<double>(bits >> 11) * 0x1p-53 - 0.5;
    value = T(static_cast<float>(std::ldexp(unit, static_cast<int>(bits & 31) - 20)));
  }
  TaskPool pool(2), one(1);
  const double want = std::sqrt(Compensated(x));
  const auto start = std::chrono::steady_clock::now();
  const double sum = SumOfSquares(BestOps(DTypeOf<T>()), pool, n, x.data());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const double relative = std::abs(std::sqrt(sum) - want) / want;
  std::printf("%s: relative error %.2g, %.3f s\n", DTypeName(DTypeOf<T>()), relative, took.count());
  EXPECT_LE(relative, 1e-6);   // the promise
  EXPECT_LE(relative, 1e-13);  // what double gives
  EXPECT_EQ(SumOfSquares(BestOps(DTypeOf<T>()), one, n, x.data()), sum);
}

TEST(Norm, AHundredMillionFp32) { CompareAtHundredMillion<float>(); }
TEST(Norm, AHundredMillionBf16) { CompareAtHundredMillion<BF16>(); }

}  // namespace
}  // namespace ds::kernels
