// AdamW and Adam with L2 against the published algorithms, computed here in double.
#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"

namespace ds::optim {
namespace {

constexpr int64_t kElements = 203;  // whole vectors, and a rest
constexpr int kSteps = 30;

struct Setting {
  bool decoupled, bias_correction, decay;
};

double GradAt(int step, int64_t i) { return RandomNormal(1, step, i) * (i % 3 == 0 ? 1e-3 : 1.0); }

// Loshchilov & Hutter 2019, algorithm 2, line by line; Kingma & Ba 2015 with L2 where not
// decoupled.
std::vector<double> Published(const AdamWOptions& o, const Setting& s, double scale) {
  std::vector<double> p(kElements), m(kElements, 0), v(kElements, 0);
  for (int64_t i = 0; i < kElements; ++i) p[i] = static_cast<float>(RandomNormal(2, 0, i));
  const double decay = s.decay ? o.weight_decay : 0;
  for (int t = 1; t <= kSteps; ++t) {
    for (int64_t i = 0; i < kElements; ++i) {
      double g = static_cast<float>(GradAt(t, i)) * scale;
      if (!s.decoupled) g += decay * p[i];
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
      const double m_hat = s.bias_correction ? m[i] / (1 - std::pow(o.beta1, t)) : m[i];
      const double v_hat = s.bias_correction ? v[i] / (1 - std::pow(o.beta2, t)) : v[i];
      const double decayed = s.decoupled ? o.lr * decay * p[i] : 0;
      p[i] -= o.lr * m_hat / (std::sqrt(v_hat) + o.eps) + decayed;
    }
  }
  return p;
}

std::vector<float> Ours(const kernels::Ops& ops, const AdamWOptions& o, const Setting& s,
                        double scale) {
  TaskPool pool(1);
  std::vector<float> p(kElements), m(kElements, 0), v(kElements, 0), grad(kElements);
  for (int64_t i = 0; i < kElements; ++i) p[i] = static_cast<float>(RandomNormal(2, 0, i));
  for (int t = 1; t <= kSteps; ++t) {
    for (int64_t i = 0; i < kElements; ++i) grad[i] = static_cast<float>(GradAt(t, i));
    const auto scalars = AdamScalarsFor(o, t, o.lr, scale, s.decay);
    ops.adam(pool, kElements, scalars, grad.data(), p.data(), m.data(), v.data(), p.data());
  }
  return p;
}

TEST(AdamW, FollowsThePublishedAlgorithm) {
  for (const bool decoupled : {true, false}) {
    for (const bool bias_correction : {true, false}) {
      for (const bool decay : {true, false}) {
        for (const double scale : {1.0, 0.25}) {
          const Setting setting = {decoupled, bias_correction, decay};
          AdamWOptions options{.lr = 0.01, .weight_decay = 0.1};
          options.decoupled = decoupled;
          options.bias_correction = bias_correction;
          const auto want = Published(options, setting, scale);
          for (const kernels::Ops* ops :
               {&kernels::RefOps(DType::kF32), &kernels::BestOps(DType::kF32)}) {
            const auto got = Ours(*ops, options, setting, scale);
            for (int64_t i = 0; i < kElements; ++i) {
              // A step moves a weight by lr or so; the rest is rounding of beta and p to fp32.
              ASSERT_NEAR(got[i], want[i], 2e-5)
                  << ops->name << " decoupled " << decoupled << " bias correction "
                  << bias_correction << " decay " << decay << " element " << i;
            }
          }
        }
      }
    }
  }
}

TEST(AdamW, TheRulesDiffer) {
  const AdamWOptions options{.lr = 0.01, .weight_decay = 0.1};
  const auto base = Published(options, {true, true, true}, 1.0);
  for (const Setting& other :
       {Setting{false, true, true}, Setting{true, false, true}, Setting{true, true, false}}) {
    const auto p = Published(options, other, 1.0);
    double most = 0;
    for (int64_t i = 0; i < kElements; ++i) most = std::max(most, std::abs(p[i] - base[i]));
    EXPECT_GT(most, 1e-3);  // far above the bound of the test above
  }
}

TEST(AdamW, BiasOfALateStepIsOne) {
  const AdamWOptions options;
  const auto first = AdamScalarsFor(options, 1, 0.5, 1, true);
  EXPECT_FLOAT_EQ(first.bias1, 0.1f);
  EXPECT_EQ(first.bias2, 1.0f - first.beta2);
  EXPECT_EQ(first.lr, 0.5f);
  const auto late = AdamScalarsFor(options, 10'000'000, 0.5, 1, true);
  EXPECT_EQ(late.bias1, 1.0f);
  EXPECT_EQ(late.bias2, 1.0f);
}

// With the gradient 1 every average is 1 once it is corrected, whatever the rounding of the betas.
TEST(AdamW, StepsByTheRateWhereTheGradientStays) {
  TaskPool pool(1);
  for (const double beta2 : {0.9, 0.999, 0.9999, 0.99999, 0.999999}) {
    for (const kernels::Ops* ops :
         {&kernels::RefOps(DType::kF32), &kernels::BestOps(DType::kF32)}) {
      const AdamWOptions options = {.lr = 1, .beta1 = 0.9999, .beta2 = beta2, .eps = 0};
      float p = 0, m = 0, v = 0;
      const float grad = 1;
      for (int t = 1; t <= 50; ++t) {
        const float before = p;
        const auto scalars = AdamScalarsFor(options, t, options.lr, 1, true);
        ops->adam(pool, 1, scalars, &grad, &p, &m, &v, &p);
        EXPECT_NEAR(before - p, 1, 1e-5) << ops->name << " beta2 " << beta2 << " step " << t;
      }
    }
  }
}

}  // namespace
}  // namespace ds::optim
