// What Llama's layers need, at every level against the plain reference: root mean square norm of
// rows and of heads, SwiGLU, rotation.
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
std::vector<T> Random(int64_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<T> x(n);
  for (T& value : x) value = T(normal(engine));
  return x;
}

template <typename T>
std::string Bytes(const std::vector<T>& x) {
  return std::string(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(T));
}

template <typename T>
void ExpectNear(const std::vector<T>& got, const std::vector<T>& want, double rel, double abs,
                const char* what) {
  if (sizeof(T) == 2) rel += 1.0 / 128;
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = static_cast<float>(got[i]), w = static_cast<float>(want[i]);
    ASSERT_LE(std::abs(g - w), rel * std::abs(w) + abs)
        << what << "[" << i << "]: " << g << ", reference " << w;
  }
}

template <typename T>
class LlamaOpsTest : public testing::Test {
 protected:
  template <typename Body>
  void ForLevels(const Body& body) {
    for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
      if (level > simd::BestLevel()) continue;
      SCOPED_TRACE(simd::LevelName(level));
      body(At<T>(level));
      if (this->HasFatalFailure()) return;
    }
  }
  const Ops& ref_ = RefOps(DTypeOf<T>());
  TaskPool one_{1}, three_{3};
};
using Types = testing::Types<float, BF16, F16>;
TYPED_TEST_SUITE(LlamaOpsTest, Types);

struct Rows {
  int64_t rows, heads, width, gap;  // gap: elements between the heads of a row and the next row
};
constexpr Rows kRows[] = {{0, 1, 8, 0},    {1, 1, 1, 0},   {7, 1, 33, 0},  {70, 1, 100, 0},
                          {3, 1, 5000, 0}, {9, 4, 16, 24}, {70, 2, 40, 8}, {5, 3, 300, 1}};

TYPED_TEST(LlamaOpsTest, RmsNormForward) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const Rows& r : kRows) {
      const int64_t in = r.heads * r.width + r.gap, out = in + 3;
      const auto x = Random<T>(r.rows * in, 1), gamma = Random<T>(r.width, 2);
      const auto start = Random<T>(r.rows * out, 3);
      const auto run = [&](const Ops& by, TaskPool& pool, std::vector<float>& rstd) {
        auto y = start;
        rstd.resize(r.rows * r.heads);
        by.rms_norm_forward(pool, r.rows, r.heads, r.width, in, out, 1e-5f, x.data(), gamma.data(),
                            y.data(), rstd.data());
        return y;
      };
      std::vector<float> want_rstd, rstd;
      const auto want = run(this->ref_, this->one_, want_rstd), got = run(ops, this->one_, rstd);
      ASSERT_EQ(Bytes(got), Bytes(run(ops, this->three_, rstd)));
      ExpectNear(rstd, want_rstd, 1e-6, 0, "rstd");
      ExpectNear(got, want, 2e-6, 1e-7, "y");
    }
  });
}

TYPED_TEST(LlamaOpsTest, RmsNormBackward) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const Rows& r : kRows) {
      for (const bool accumulate : {false, true}) {
        for (const bool add : {false, true}) {
          const int64_t in = r.heads * r.width + r.gap, out = in + 3;
          const auto x = Random<T>(r.rows * in, 1), gamma = Random<T>(r.width, 2);
          const auto dy = Random<T>(r.rows * out, 3), start = Random<T>(r.rows * out, 4);
          const auto weights = Random<T>(r.width, 5);
          std::vector<T> y(r.rows * in);
          std::vector<float> rstd(r.rows * r.heads);
          this->ref_.rms_norm_forward(this->one_, r.rows, r.heads, r.width, in, in, 1e-5f, x.data(),
                                      gamma.data(), y.data(), rstd.data());
          const auto run = [&](const Ops& by, TaskPool& pool) {
            auto dx = add ? start : dy;  // in place where it does not add
            auto dgamma = weights;
            std::vector<float> sums(RowParts(r.rows) * r.width, NAN);
            by.rms_norm_backward(pool, r.rows, r.heads, r.width, in, out, accumulate, add, x.data(),
                                 gamma.data(), rstd.data(), add ? dy.data() : dx.data(), dx.data(),
                                 dgamma.data(), sums.data());
            return std::pair(dx, dgamma);
          };
          const auto want = run(this->ref_, this->one_), got = run(ops, this->one_);
          ASSERT_EQ(Bytes(got.first), Bytes(run(ops, this->three_).first));
          ASSERT_EQ(Bytes(got.second), Bytes(run(ops, this->three_).second));
          ExpectNear(got.first, want.first, 2e-6, 2e-5, "dx");
          ExpectNear(got.second, want.second, 2e-6, 3e-5, "dgamma");
        }
      }
    }
  });
}

// What is frozen has no gradient, and dx is the same.
TYPED_TEST(LlamaOpsTest, NormsWithoutGradientsOfWeights) {
  using T = TypeParam;
  constexpr int64_t kRowCount = 9, kWidth = 65;
  const auto x = Random<T>(kRowCount * kWidth, 1), gamma = Random<T>(kWidth, 2);
  const auto dy = Random<T>(kRowCount * kWidth, 3);
  const auto mean = Random<float>(kRowCount, 4, 0.1f), rstd = Random<float>(kRowCount, 5);
  const auto check = [&](const Ops& ops) {
    std::vector<float> sums(2 * RowParts(kRowCount) * kWidth);
    const auto layer = [&](T* dgamma, T* dbeta) {
      auto dx = dy;
      ops.layer_norm_backward(this->one_, kRowCount, kWidth, /*accumulate=*/true, x.data(),
                              gamma.data(), mean.data(), rstd.data(), dy.data(), dx.data(), dgamma,
                              dbeta, sums.data());
      return dx;
    };
    const auto rms = [&](T* dgamma) {
      auto dx = dy;
      ops.rms_norm_backward(this->one_, kRowCount, 1, kWidth, kWidth, kWidth, true, true, x.data(),
                            gamma.data(), rstd.data(), dy.data(), dx.data(), dgamma, sums.data());
      return dx;
    };
    std::vector<T> with_both(kWidth), with_one(kWidth), beta(kWidth), of_rms(kWidth);
    const auto whole = layer(with_both.data(), beta.data());
    ASSERT_EQ(Bytes(layer(with_one.data(), nullptr)), Bytes(whole));
    ASSERT_EQ(Bytes(with_one), Bytes(with_both));
    ASSERT_EQ(Bytes(layer(nullptr, nullptr)), Bytes(whole));
    ASSERT_EQ(Bytes(rms(nullptr)), Bytes(rms(of_rms.data())));
  };
  check(this->ref_);
  this->ForLevels(check);
}

TYPED_TEST(LlamaOpsTest, Scale) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const int64_t n : {0, 1, 33, 40000}) {
      const auto run = [&](const Ops& by, TaskPool& pool) {
        auto x = Random<T>(n, 1);
        by.scale(pool, n, 0.3f, x.data());
        return x;
      };
      ASSERT_EQ(Bytes(run(ops, this->three_)), Bytes(run(this->ref_, this->one_))) << n;
    }
  });
}

TYPED_TEST(LlamaOpsTest, Swiglu) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const Rows& r : kRows) {
      for (const float spread : {1.0f, 40.0f}) {
        const auto x = Random<T>(r.rows * 2 * r.width, 1, spread);
        const auto dy = Random<T>(r.rows * r.width, 2);
        const auto run = [&](const Ops& by, TaskPool& pool) {
          std::vector<T> y(dy.size()), dx(x.size());
          by.swiglu_forward(pool, r.rows, r.width, x.data(), y.data());
          by.swiglu_backward(pool, r.rows, r.width, x.data(), dy.data(), dx.data());
          return std::pair(y, dx);
        };
        const auto want = run(this->ref_, this->one_), got = run(ops, this->one_);
        ASSERT_EQ(Bytes(got.first), Bytes(run(ops, this->three_).first));
        ASSERT_EQ(Bytes(got.second), Bytes(run(ops, this->three_).second));
        ExpectNear(got.first, want.first, 2e-6, 1e-7, "y");
        ExpectNear(got.second, want.second, 1e-5, 2e-5 * spread, "dx");
      }
    }
  });
}

TYPED_TEST(LlamaOpsTest, RopeTurnsAndTurnsBack) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const int64_t dim : {2, 6, 32, 34, 128}) {
      const int64_t batch = 2, tokens = 5, heads = 3, stride = heads * dim + 7;
      const auto start = Random<T>(batch * tokens * stride, 1);
      std::vector<float> table(tokens * dim);
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t d = 0; d < dim / 2; ++d) {
          const double angle = static_cast<double>(t) * std::pow(10.0, -4.0 * d / dim);
          table[t * dim + d] = static_cast<float>(std::cos(angle));
          table[t * dim + dim / 2 + d] = static_cast<float>(std::sin(angle));
        }
      }
      const auto run = [&](const Ops& by, TaskPool& pool, bool inverse, std::vector<T> x) {
        by.rope(pool, batch * tokens, tokens, heads, dim, stride, inverse, table.data(), x.data());
        return x;
      };
      const auto turned = run(ops, this->one_, false, start);
      ASSERT_EQ(Bytes(turned), Bytes(run(ops, this->three_, false, start)));
      ExpectNear(turned, run(this->ref_, this->one_, false, start), 2e-6, 1e-6, "turned");
      ExpectNear(run(ops, this->one_, true, turned), start, 1e-5, sizeof(T) == 2 ? 0.05 : 2e-6,
                 "back");
    }
  });
}

}  // namespace
}  // namespace ds::kernels
