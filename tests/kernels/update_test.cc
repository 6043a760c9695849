// The update rules at every level that this machine has against the plain reference, the same bits
// on any number of threads, and for any cut of the span.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/simd/simd.h"
#include "support/ops_rows.h"

namespace ds::kernels {
namespace {

using simd::Level;

constexpr int64_t kSizes[] = {0, 1, 7, 33, 1000, 70000};
constexpr float kDirty = 7.0f;  // what arrays hold that an op must not read

template <typename T>
std::vector<T> Random(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<T> x(n);
  for (T& value : x) value = T(normal(engine));
  return x;
}

// Two state arrays, the master and the weights of a span; `a` and `b` >= 0.
template <typename T>
struct Arrays {
  explicit Arrays(int64_t n)
      : grad(Random<T>(n, 1)), master(Random<float>(n, 2)), a(Random<float>(n, 3)), b(a), out(n) {
    for (float& value : b) value = std::abs(value);
    for (size_t i = 3; i < grad.size(); i += 5) grad[i] = T(0.0f);
    for (size_t i = 6; i < a.size(); i += 10) a[i] = b[i] = 0.0f;
  }
  // fp32 weights are the master itself.
  void* weights(int64_t at) {
    if constexpr (sizeof(T) == 4) return master.data() + at;
    return out.data() + at;
  }
  std::string bytes() const {
    std::string all;
    const auto add = [&](const auto& x) {
      all.append(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(x[0]));
    };
    add(master), add(a), add(b), add(out);
    return all;
  }

  std::vector<T> grad;
  std::vector<float> master, a, b;
  std::vector<T> out;
};

// A rule as a call on n elements from `at` on.
template <typename T>
struct Rule {
  const char* name;
  std::function<void(const Ops&, TaskPool&, Arrays<T>&, int64_t at, int64_t n)> call;
};

SgdScalars Sgd(bool nesterov, bool first) {
  return {.lr = 0.1f,
          .momentum = 0.9f,
          .dampening = 0.25f,
          .weight_decay = 0.01f,
          .grad_scale = 0.5f,
          .nesterov = nesterov,
          .first = first};
}

LambScalars Lamb(bool inside) { return {0.9f, 0.99f, 1e-6f, 0.01f, 0.5f, inside}; }

template <typename T>
std::vector<Rule<T>> Rules() {
  using A = Arrays<T>;
  const auto sgd = [](SgdScalars s) {
    return [s](const Ops& ops, TaskPool& pool, A& x, int64_t at, int64_t n) {
      float* buffer = s.momentum == 0 ? nullptr : x.a.data() + at;
      ops.sgd(pool, n, s, x.grad.data() + at, x.master.data() + at, buffer, x.weights(at));
    };
  };
  const auto lamb = [](bool inside) {
    return [inside](const Ops& ops, TaskPool& pool, A& x, int64_t at, int64_t n) {
      LambSums sums;
      ops.lamb_moments(pool, n, Lamb(inside), x.grad.data() + at, x.master.data() + at,
                       x.a.data() + at, x.b.data() + at, &sums);
      ops.lamb_apply(pool, n, Lamb(inside), 0.01f, x.master.data() + at, x.a.data() + at,
                     x.b.data() + at, x.weights(at));
    };
  };
  const auto muon = [](bool nesterov) {
    return [nesterov](const Ops& ops, TaskPool& pool, A& x, int64_t at, int64_t n) {
      std::vector<float> direction(n, kDirty);
      ops.muon_direction(pool, n, {0.95f, 0.5f, nesterov}, x.grad.data() + at, x.a.data() + at,
                         direction.data());
      ops.combine(pool, n, 2.5f, direction.data(), -0.5f, x.b.data() + at, direction.data());
      ops.decay_and_step(pool, n, 0.1f, 0.3f, 0.2f, direction.data(), x.master.data() + at,
                         x.weights(at));
    };
  };
  SgdScalars plain = Sgd(false, false);
  plain.momentum = 0;
  return {
      {"lion",
       [](const Ops& ops, TaskPool& pool, A& x, int64_t at, int64_t n) {
         ops.lion(pool, n, {0.01f, 0.9f, 0.99f, 0.1f, 0.5f}, x.grad.data() + at,
                  x.master.data() + at, x.a.data() + at, x.weights(at));
       }},
      {"adagrad",
       [](const Ops& ops, TaskPool& pool, A& x, int64_t at, int64_t n) {
         ops.adagrad(pool, n, {0.1f, 1e-8f, 0.1f, 0.5f}, x.grad.data() + at, x.master.data() + at,
                     x.b.data() + at, x.weights(at));
       }},
      {"sgd", sgd(plain)},
      {"sgd with momentum", sgd(Sgd(false, false))},
      {"sgd with nesterov", sgd(Sgd(true, false))},
      {"sgd at its first step", sgd(Sgd(true, true))},
      {"lamb", lamb(false)},
      {"lamb, eps inside", lamb(true)},
      {"muon", muon(false)},
      {"muon with nesterov", muon(true)},
  };
}

template <typename T>
class UpdateTest : public testing::Test {
 protected:
  template <typename Body>
  void ForRules(const Body& body) {
    for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
      if (level > simd::BestLevel()) continue;
      const Ops ops = At<T>(level);
      for (const Rule<T>& rule : Rules<T>()) {
        SCOPED_TRACE(std::string(rule.name) + " on " + simd::LevelName(level));
        body(ops, rule);
        if (this->HasFatalFailure()) return;
      }
    }
  }
  TaskPool one_{1}, three_{3};
};
using Types = testing::Types<float, BF16, F16>;
TYPED_TEST_SUITE(UpdateTest, Types);

// Values reach about 5 here, and a rule rounds some ten times: 2e-6 is four units of 5.
void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, const char* what) {
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 2e-6 + 1e-6 * std::abs(want[i])) << what << "[" << i << "]";
  }
}

TYPED_TEST(UpdateTest, GivesWhatTheReferenceGives) {
  using T = TypeParam;
  this->ForRules([&](const Ops& ops, const Rule<T>& rule) {
    for (int64_t n : kSizes) {
      Arrays<T> want(n), got(n);
      for (int step = 0; step < 3; ++step) {
        rule.call(RefOps(DTypeOf<T>()), this->one_, want, 0, n);
        rule.call(ops, this->three_, got, 0, n);
      }
      ExpectNear(got.a, want.a, "a");
      ExpectNear(got.b, want.b, "b");
      ExpectNear(got.master, want.master, "master");
      if (sizeof(T) == 4) continue;
      for (int64_t i = 0; i < n; ++i) {  // rounded from the master, exactly
        ASSERT_EQ(static_cast<float>(got.out[i]), static_cast<float>(T(got.master[i]))) << i;
      }
    }
  });
}

TYPED_TEST(UpdateTest, TheBitsDoNotDependOnThreadsOrCuts) {
  using T = TypeParam;
  this->ForRules([&](const Ops& ops, const Rule<T>& rule) {
    constexpr int64_t n = 40000;
    Arrays<T> whole(n), threads(n);
    rule.call(ops, this->one_, whole, 0, n);
    rule.call(ops, this->three_, threads, 0, n);
    ASSERT_EQ(threads.bytes(), whole.bytes());
    std::mt19937 engine(7);
    for (int round = 0; round < 3; ++round) {
      Arrays<T> cut(n);
      for (int64_t at = 0; at < n;) {
        const int64_t part = std::min<int64_t>(n - at, 1 + engine() % (round == 0 ? 50 : 20000));
        rule.call(ops, this->one_, cut, at, part);
        at += part;
      }
      ASSERT_EQ(cut.bytes(), whole.bytes());
    }
  });
}

TYPED_TEST(UpdateTest, LambSumsAreThoseOfTheReference) {
  using T = TypeParam;
  for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
    if (level > simd::BestLevel()) continue;
    const Ops ops = At<T>(level);
    for (int64_t n : kSizes) {
      for (bool inside : {false, true}) {
        Arrays<T> want(n), got(n), again(n);
        const auto sums = [&](const Ops& from, TaskPool& pool, Arrays<T>& x) {
          LambSums sums;
          from.lamb_moments(pool, n, Lamb(inside), x.grad.data(), x.master.data(), x.a.data(),
                            x.b.data(), &sums);
          return sums;
        };
        const LambSums w = sums(RefOps(DTypeOf<T>()), this->one_, want);
        const LambSums g = sums(ops, this->three_, got), one = sums(ops, this->one_, again);
        EXPECT_NEAR(g.weights, w.weights, 1e-12 * w.weights);
        EXPECT_NEAR(g.direction, w.direction, 1e-5 * w.direction);  // of fp32 directions
        EXPECT_EQ(g.weights, one.weights);
        EXPECT_EQ(g.direction, one.direction);
      }
    }
  }
}

// eps = 0 and a gradient that never came: nothing beyond the end may leak into the sums.
TEST(LambTest, OfATailWithoutEps) {
  TaskPool pool(1);
  LambScalars scalars = Lamb(false);
  scalars.eps = 0;
  for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
    if (level > simd::BestLevel()) continue;
    const float grad[3] = {1, 2, 3}, master[3] = {1, 1, 1};
    float m[3] = {}, v[3] = {};
    LambSums sums;
    At<float>(level).lamb_moments(pool, 3, scalars, grad, master, m, v, &sums);
    EXPECT_TRUE(std::isfinite(sums.direction));
    EXPECT_EQ(sums.weights, 3.0);
  }
}

}  // namespace
}  // namespace ds::kernels
