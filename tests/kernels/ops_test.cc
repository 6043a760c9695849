// Every SIMD function at every level that this machine has against the plain reference, the same
// bits on any number of threads, and independence of an element's place in its array.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/simd/simd.h"
#include "support/ops_rows.h"

namespace ds::kernels {
namespace {

using simd::Level;

std::vector<Level> Levels() {
  std::vector<Level> levels;
  for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
    if (level <= simd::BestLevel()) levels.push_back(level);
  }
  return levels;
}

constexpr int64_t kSizes[] = {0, 1, 7, 33, 1000, 70000};
struct Shape {
  int64_t rows, width;
};
constexpr Shape kShapes[] = {{0, 8},  {3, 0},    {1, 1},     {7, 1},     {1, 7},    {5, 33},
                             {33, 7}, {70, 100}, {1000, 17}, {200, 768}, {3, 5000}, {1, 70000}};

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

// |got - want| <= rel |want| + abs. A BF16 may fall to the neighbour: one unit is 2^-7 at most.
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
class OpsTest : public testing::Test {
 protected:
  // Calls body(ops, what) for each level.
  template <typename Body>
  void ForLevels(const Body& body) {
    for (Level level : Levels()) {
      SCOPED_TRACE(simd::LevelName(level));
      body(At<T>(level));
      if (this->HasFatalFailure()) return;
    }
  }
  const Ops& ref_ = RefOps(DTypeOf<T>());
  TaskPool one_{1}, three_{3};
};
using Types = testing::Types<float, BF16, F16>;
TYPED_TEST_SUITE(OpsTest, Types);

TYPED_TEST(OpsTest, AddBiasIsExact) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      const auto bias = Random<T>(width, 1);
      auto want = Random<T>(rows * width, 2), got = want;
      this->ref_.add_bias(this->one_, rows, width, width, bias.data(), want.data());
      ops.add_bias(this->three_, rows, width, width, bias.data(), got.data());
      ASSERT_EQ(Bytes(got), Bytes(want)) << rows << " x " << width;
      const int64_t stride = width + 5;  // and of a part of longer rows
      auto wide_want = Random<T>(rows * stride, 3), wide = wide_want;
      this->ref_.add_bias(this->one_, rows, width, stride, bias.data(), wide_want.data());
      ops.add_bias(this->three_, rows, width, stride, bias.data(), wide.data());
      ASSERT_EQ(Bytes(wide), Bytes(wide_want)) << rows << " x " << width;
    }
  });
}

TYPED_TEST(OpsTest, AddBiasResidual) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      const auto bias = Random<T>(width, 1), x = Random<T>(rows * width, 2);
      auto want = Random<T>(rows * width, 3), got = want, again = want;
      this->ref_.add_bias_residual(this->one_, rows, width, bias.data(), x.data(), want.data());
      ops.add_bias_residual(this->one_, rows, width, bias.data(), x.data(), got.data());
      ops.add_bias_residual(this->three_, rows, width, bias.data(), x.data(), again.data());
      ASSERT_EQ(Bytes(got), Bytes(again));
      ExpectNear(got, want, 2e-7, 5e-7, "y");
      this->ref_.add_bias_residual(this->one_, rows, width, nullptr, x.data(), want.data());
      ops.add_bias_residual(this->three_, rows, width, nullptr, x.data(), got.data());
      ExpectNear(got, want, 4e-7, 1e-6, "y without bias");
    }
  });
}

TYPED_TEST(OpsTest, BiasGradSumsColumns) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      for (bool accumulate : {false, true}) {
        const int64_t stride = width + (accumulate ? 3 : 0);
        const auto dy = Random<T>(rows * stride, 1), start = Random<T>(width, 2);
        const auto run = [&, rows = rows, width = width](const Ops& by, TaskPool& pool) {
          std::vector<T> dbias = start;
          std::vector<float> sums(RowParts(rows) * width, NAN);
          by.bias_grad(pool, rows, width, stride, accumulate, dy.data(), dbias.data(), sums.data());
          return dbias;
        };
        const auto got = run(ops, this->one_);
        ASSERT_EQ(Bytes(got), Bytes(run(ops, this->three_)));
        ExpectNear(got, run(this->ref_, this->one_), 1e-6, 2e-5, "dbias");
      }
    }
  });
}

TYPED_TEST(OpsTest, SumParts) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (int64_t n : kSizes) {
      for (int64_t parts : {0, 1, 2, 7}) {
        for (bool accumulate : {false, true}) {
          const auto x = Random<float>(parts * n, 1);
          auto want = Random<T>(n, 2), got = want, again = want;
          this->ref_.sum_parts(this->one_, parts, n, accumulate, x.data(), want.data());
          ops.sum_parts(this->one_, parts, n, accumulate, x.data(), got.data());
          ops.sum_parts(this->three_, parts, n, accumulate, x.data(), again.data());
          ASSERT_EQ(Bytes(got), Bytes(again));
          ExpectNear(got, want, 1e-6, 2e-6, "y");
        }
      }
    }
  });
}

TYPED_TEST(OpsTest, Gelu) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      for (const Gelu form : {Gelu::kTanh, Gelu::kErf}) {
        const auto bias = Random<T>(width, 1), start = Random<T>(rows * width, 2, 4.0f);
        auto want_slope = start, slope = start, again_slope = start;
        std::vector<T> want(start.size()), got = want, again = want;
        this->ref_.bias_gelu_forward(this->one_, rows, width, form, bias.data(), want_slope.data(),
                                     want.data());
        ops.bias_gelu_forward(this->one_, rows, width, form, bias.data(), slope.data(), got.data());
        ops.bias_gelu_forward(this->three_, rows, width, form, bias.data(), again_slope.data(),
                              again.data());
        ASSERT_EQ(Bytes(slope), Bytes(again_slope));
        ASSERT_EQ(Bytes(got), Bytes(again));
        const double more = form == Gelu::kErf ? 1e-6 : 0;  // the error of its polynomial
        ExpectNear(got, want, 5e-7, 2e-7 + more, "y");
        ExpectNear(slope, want_slope, 1e-6, 5e-7 + more, "slope");
      }
    }
  });
}

TYPED_TEST(OpsTest, GeluOfExtremes) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    const float huge = DTypeOf<T>() == DType::kF16 ? 6e4f : 1e30f;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<T> x = {T(huge), T(-huge), T(0.0f), T(nan), T(60.0f), T(-60.0f)};
    const std::vector<T> bias(x.size(), T(0.0f));
    const float slopes[] = {1, 0, 0.5, nan, 1, 0};
    for (size_t n = 0; n < 2 * x.size(); ++n) {
      const Gelu form = n < x.size() ? Gelu::kTanh : Gelu::kErf;
      const size_t i = n % x.size();
      std::vector<T> y(x.size()), slope = x;
      ops.bias_gelu_forward(this->one_, 1, x.size(), form, bias.data(), slope.data(), y.data());
      const auto at = static_cast<float>(x[i]);
      if (i == 3) {
        EXPECT_TRUE(std::isnan(static_cast<float>(y[i])));
        EXPECT_TRUE(std::isnan(static_cast<float>(slope[i])));
        continue;
      }
      EXPECT_NEAR(static_cast<float>(y[i]), std::max(0.0f, at), std::abs(at) * 1e-33) << i;
      EXPECT_NEAR(static_cast<float>(slope[i]), slopes[i], 1e-33) << i;
    }
  });
}

TYPED_TEST(OpsTest, MultiplyIsExact) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (int64_t n : kSizes) {
      const auto a = Random<T>(n, 1, 4.0f), b = Random<T>(n, 2);
      std::vector<T> want(n), got = b;
      this->ref_.multiply(this->one_, n, a.data(), b.data(), want.data());
      ops.multiply(this->three_, n, a.data(), got.data(), got.data());
      ASSERT_EQ(Bytes(got), Bytes(want));
    }
  });
}

TYPED_TEST(OpsTest, LayerNormForward) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      for (float offset : {0.0f, 100.0f}) {
        auto x = Random<T>(rows * width, 1);
        for (T& value : x) value = T(static_cast<float>(value) + offset);
        const auto gamma = Random<T>(width, 2), beta = Random<T>(width, 3);
        std::vector<T> want(x.size()), got(x.size()), again(x.size());
        std::vector<float> mean(rows), rstd(rows), want_mean(rows), want_rstd(rows);
        this->ref_.layer_norm_forward(this->one_, rows, width, 1e-5f, x.data(), gamma.data(),
                                      beta.data(), want.data(), want_mean.data(), want_rstd.data());
        ops.layer_norm_forward(this->one_, rows, width, 1e-5f, x.data(), gamma.data(), beta.data(),
                               got.data(), mean.data(), rstd.data());
        ops.layer_norm_forward(this->three_, rows, width, 1e-5f, x.data(), gamma.data(),
                               beta.data(), again.data(), mean.data(), rstd.data());
        ASSERT_EQ(Bytes(got), Bytes(again));
        // Elements reach 4, and their deviations are rounded to half a unit of that.
        ExpectNear(mean, want_mean, 2.0 / (1 << 23), 1e-6, "mean");
        ExpectNear(rstd, want_rstd, 2e-6, 0, "rstd");
        // The mean is one rounding off at most, which is 8e-6 at 100.
        ExpectNear(got, want, 3e-6, offset == 0 ? 3e-6 : 1e-4, "y");
      }
    }
  });
}

TYPED_TEST(OpsTest, LayerNormBackward) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      for (bool accumulate : {false, true}) {
        const auto x = Random<T>(rows * width, 1), dy = Random<T>(rows * width, 2);
        const auto gamma = Random<T>(width, 3), dx = Random<T>(rows * width, 4);
        const auto start = Random<T>(width, 5);
        std::vector<T> y(x.size());
        std::vector<float> mean(rows), rstd(rows);
        this->ref_.layer_norm_forward(this->one_, rows, width, 1e-2f, x.data(), gamma.data(),
                                      gamma.data(), y.data(), mean.data(), rstd.data());
        const auto run = [&, rows = rows, width = width](const Ops& by, TaskPool& pool) {
          std::vector<T> out[3] = {dx, start, start};
          std::vector<float> sums(2 * RowParts(rows) * width, NAN);
          by.layer_norm_backward(pool, rows, width, accumulate, x.data(), gamma.data(), mean.data(),
                                 rstd.data(), dy.data(), out[0].data(), out[1].data(),
                                 out[2].data(), sums.data());
          return std::vector<std::vector<T>>(out, out + 3);
        };
        const auto want = run(this->ref_, this->one_), got = run(ops, this->one_);
        const auto again = run(ops, this->three_);
        const char* names[] = {"dx", "dgamma", "dbeta"};
        for (int i = 0; i < 3; ++i) {
          ASSERT_EQ(Bytes(got[i]), Bytes(again[i])) << names[i];
          ExpectNear(got[i], want[i], 2e-6, 3e-5, names[i]);
        }
      }
    }
  });
}

TYPED_TEST(OpsTest, Embedding) {
  using T = TypeParam;
  struct Case {
    int64_t batch, tokens, width, vocab;
  };
  this->ForLevels([&](const Ops& ops) {
    for (const auto& c : {Case{0, 4, 8, 5}, Case{1, 1, 1, 1}, Case{3, 7, 33, 5},
                          Case{5, 40, 300, 11}, Case{2, 16, 64, 1500}}) {
      const int64_t rows = c.batch * c.tokens;
      std::mt19937 engine(7);
      std::vector<int32_t> ids(rows), positions(rows);
      for (int32_t& id : ids) id = static_cast<int32_t>(engine() % c.vocab);
      for (int32_t& at : positions) at = static_cast<int32_t>(engine() % c.tokens);
      const auto wte = Random<T>(c.vocab * c.width, 1), wpe = Random<T>(c.tokens * c.width, 2);
      std::vector<T> want(rows * c.width), got(rows * c.width);
      for (const T* table : {static_cast<const T*>(nullptr), wpe.data()}) {
        this->ref_.embedding_forward(this->one_, rows, c.width, ids.data(), positions.data(),
                                     wte.data(), table, want.data());
        ops.embedding_forward(this->three_, rows, c.width, ids.data(), positions.data(), wte.data(),
                              table, got.data());
        ASSERT_EQ(Bytes(got), Bytes(want));
      }
      const auto run = [&](const Ops& by, TaskPool& pool) {
        std::vector<T> out = wte;
        by.embedding_backward(pool, rows, c.width, c.vocab, ids.data(), want.data(), out.data());
        return out;
      };
      const auto sums = run(ops, this->one_);
      ASSERT_EQ(Bytes(sums), Bytes(run(ops, this->three_)));
      ExpectNear(sums, run(this->ref_, this->one_), 1e-6, 2e-5, "dw");
    }
  });
}

TYPED_TEST(OpsTest, CrossEntropy) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (const auto& [rows, width] : kShapes) {
      for (float spread : {1.0f, 30.0f}) {
        std::mt19937 engine(9);
        std::vector<int32_t> targets(rows, -1);
        for (int32_t& target : targets) {
          if (width > 0 && engine() % 4 > 0) target = static_cast<int32_t>(engine() % width);
        }
        auto want = Random<T>(rows * width, 1, spread), got = want, again = want, alone = want;
        std::vector<float> want_loss(rows), loss(rows), again_loss(rows), loss_alone(rows);
        this->ref_.cross_entropy(this->one_, rows, width, 0.125f, targets.data(), want.data(),
                                 want_loss.data());
        ops.cross_entropy(this->one_, rows, width, 0.125f, targets.data(), got.data(), loss.data());
        ops.cross_entropy(this->three_, rows, width, 0.125f, targets.data(), again.data(),
                          again_loss.data());
        ASSERT_EQ(Bytes(got), Bytes(again));
        ASSERT_EQ(Bytes(loss), Bytes(again_loss));
        ops.token_losses(this->three_, rows, width, targets.data(), alone.data(),
                         loss_alone.data());
        ASSERT_EQ(Bytes(loss), Bytes(loss_alone));
        ExpectNear(loss, want_loss, 5e-7, 5e-7, "loss");
        // Logits of 30 sigma differ by 200, and a difference of that size is 8e-6 exact.
        ExpectNear(got, want, spread == 1.0f ? 2e-6 : 1e-5, 1e-9, "gradient");
      }
    }
  });
}

TYPED_TEST(OpsTest, AccumulateIsExact) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (int64_t n : kSizes) {
      const auto wide = Random<float>(n, 1);
      const auto same = Random<T>(n, 2), start = Random<T>(n, 3);
      auto want = start, got = start;
      this->ref_.accumulate(this->one_, n, DType::kF32, wide.data(), want.data());
      this->ref_.accumulate(this->one_, n, DTypeOf<T>(), same.data(), want.data());
      ops.accumulate(this->three_, n, DType::kF32, wide.data(), got.data());
      ops.accumulate(this->one_, n, DTypeOf<T>(), same.data(), got.data());
      ASSERT_EQ(Bytes(got), Bytes(want)) << n;
    }
  });
}

TYPED_TEST(OpsTest, SumOfSquares) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (int64_t n : {int64_t{0}, int64_t{1}, int64_t{33}, int64_t{70000}, int64_t{5000000}}) {
      const auto x = Random<T>(n, 1, DTypeOf<T>() == DType::kF16 ? 1e3f : 1e15f);
      long double want = 0;
      for (T value : x)
        want += static_cast<long double>(static_cast<float>(value)) * static_cast<float>(value);
      const double got = SumOfSquares(ops, this->one_, n, x.data());
      EXPECT_EQ(got, SumOfSquares(ops, this->three_, n, x.data()));
      EXPECT_LE(std::abs(static_cast<double>(got - want)), 1e-12 * static_cast<double>(want)) << n;
    }
  });
}

// The state of an optimizer, with `at` elements before it that nobody may touch.
template <typename T>
struct AdamState {
  AdamState(int64_t n, int64_t at)
      : at(at), grad(at, T(0.0f)), weights(at + n), master(at), m(at), v(at) {
    const auto g = Random<T>(n, 1);
    const auto p = Random<float>(n, 2), first = Random<float>(n, 3, 0.1f);
    auto second = Random<float>(n, 4, 0.1f);
    for (float& value : second) value *= value;
    grad.insert(grad.end(), g.begin(), g.end());
    master.insert(master.end(), p.begin(), p.end());
    m.insert(m.end(), first.begin(), first.end());
    v.insert(v.end(), second.begin(), second.end());
  }
  void Step(const Ops& ops, TaskPool& pool, const AdamScalars& scalars) {
    void* out = weights.data() + at;
    if (sizeof(T) == 4) out = master.data() + at;
    ops.adam(pool, static_cast<int64_t>(grad.size()) - at, scalars, grad.data() + at,
             master.data() + at, m.data() + at, v.data() + at, out);
  }
  // Without the first `skip`.
  std::string Tail(int64_t skip) const {
    const auto from = [&](const auto& x) {
      return std::string(reinterpret_cast<const char*>(x.data() + skip),
                         (x.size() - skip) * sizeof(x[0]));
    };
    return from(weights) + from(master) + from(m) + from(v);
  }
  int64_t at;
  std::vector<T> grad, weights;
  std::vector<float> master, m, v;
};

constexpr AdamScalars kDecoupled = {1e-2f,  0.9f,      0.999f, 1e-8f, 0.1f,
                                    0.271f, 2.997e-3f, 0.5f,   true};
constexpr AdamScalars kL2 = {1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f, 1.0f, 2.0f, false};

TYPED_TEST(OpsTest, Adam) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    for (int64_t n : kSizes) {
      for (const AdamScalars& scalars : {kDecoupled, kL2}) {
        AdamState<T> want(n, 0), got(n, 0), again(n, 0);
        want.Step(this->ref_, this->one_, scalars);
        got.Step(ops, this->one_, scalars);
        again.Step(ops, this->three_, scalars);
        ASSERT_EQ(got.Tail(0), again.Tail(0));
        // The sums cancel, so the bounds are absolute: of terms of about 1, 1 and 0.1.
        ExpectNear(got.m, want.m, 3e-7, 1e-7, "m");
        // With L2 the gradient itself is such a sum, and where it is small its error is not.
        ExpectNear(got.v, want.v, 5e-7, scalars.decoupled ? 0 : 2e-9, "v");
        ExpectNear(got.master, want.master, 3e-7, 3e-7, "master");
        ExpectNear(got.weights, want.weights, 3e-7, 1e-6, "weights");
      }
    }
  });
}

// Shares of ZeRO cut the parameters anywhere: an element must not notice where it lies.
TYPED_TEST(OpsTest, AnElementDoesNotNoticeItsPlace) {
  using T = TypeParam;
  constexpr int64_t n = 101;
  this->ForLevels([&](const Ops& ops) {
    AdamState<T> whole(n, 0);
    whole.Step(ops, this->one_, kDecoupled);
    const auto x = Random<T>(n, 1, 3.0f), bias = Random<T>(n, 2);
    const auto gelu_from = [&](int64_t at) {  // slopes, then values
      std::vector<T> out(x.begin() + at, x.end());
      out.resize(2 * (n - at));
      ops.bias_gelu_forward(this->one_, 1, n - at, Gelu::kTanh, bias.data() + at, out.data(),
                            out.data() + n - at);
      return out;
    };
    const std::vector<T> gelu = gelu_from(0);
    for (int64_t at = 1; at < 40; ++at) {
      AdamState<T> part(n, 0);
      part.at = at;
      part.Step(ops, this->one_, kDecoupled);
      ASSERT_EQ(part.Tail(at), whole.Tail(at)) << at;
      std::vector<T> tail(gelu.begin() + at, gelu.begin() + n);
      tail.insert(tail.end(), gelu.begin() + n + at, gelu.end());
      ASSERT_EQ(Bytes(gelu_from(at)), Bytes(tail)) << at;
    }
  });
}

// Every rounding case: ties, infinities, subnormals, NaN with any payload.
TYPED_TEST(OpsTest, ConversionsAreExact) {
  using T = TypeParam;
  this->ForLevels([&](const Ops& ops) {
    std::vector<float> x;
    for (uint32_t high = 0; high < 0x10000; high += 7) {
      for (uint32_t low : {0x0000u, 0x0001u, 0x0FFFu, 0x1000u, 0x1001u, 0x3000u, 0x7FFFu, 0x8000u,
                           0x8001u, 0xFFFFu}) {
        x.push_back(std::bit_cast<float>(high << 16 | low));
      }
    }
    const auto n = static_cast<int64_t>(x.size());
    std::vector<T> want(n), got(n);
    // A signalling NaN stays what it is only where nothing is computed: ops.h asks no more.
    for (int64_t i = 0; i < n; ++i) want[i] = T(x[i]);
    ops.from_float(this->three_, n, x.data(), got.data());
    ASSERT_EQ(Bytes(got), Bytes(want));
    std::vector<float> back(n), want_back(n);
    for (int64_t i = 0; i < n; ++i) want_back[i] = static_cast<float>(want[i]);
    ops.to_float(this->three_, n, got.data(), back.data());
    ASSERT_EQ(Bytes(back), Bytes(want_back));
  });
}

}  // namespace
}  // namespace ds::kernels
