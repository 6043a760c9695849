// Each rule against its formula in double precision, written here from the papers and torch's
// documentation, over twenty updates.
#include "optim/rules.h"

#include <cmath>
#include <functional>
#include <random>

#include "rig.h"

namespace ds::optim {
namespace {

// One element of a parameter in double: p, two states, the gradient.
struct Element {
  double p, s0 = 0, s1 = 0;
};
using Formula = std::function<void(Element& e, double g, int64_t t)>;

struct Case {
  const char* name;
  const char* type;
  Json params;
  double lr;
  Formula formula;
};

std::vector<Case> Elementwise() {
  return {
      {"Adam with L2",
       "Adam",
       {{"lr", 0.01}, {"weight_decay", 0.1}, {"adam_w_mode", false}, {"betas", {0.8, 0.95}}},
       0.01,
       [](Element& e, double g, int64_t t) {
         g += 0.1 * e.p;
         e.s0 = 0.8 * e.s0 + 0.2 * g;
         e.s1 = 0.95 * e.s1 + 0.05 * g * g;
         const double m = e.s0 / (1 - std::pow(0.8, t)), v = e.s1 / (1 - std::pow(0.95, t));
         e.p -= 0.01 * m / (std::sqrt(v) + 1e-8);
       }},
      {"AdamW",
       "AdamW",
       {{"lr", 0.01}, {"weight_decay", 0.1}, {"eps", 1e-6}},
       0.01,
       [](Element& e, double g, int64_t t) {
         e.s0 = 0.9 * e.s0 + 0.1 * g;
         e.s1 = 0.999 * e.s1 + 0.001 * g * g;
         const double m = e.s0 / (1 - std::pow(0.9, t)), v = e.s1 / (1 - std::pow(0.999, t));
         e.p -= 0.01 * (m / (std::sqrt(v) + 1e-6) + 0.1 * e.p);
       }},
      {"AdamW without bias correction",
       "AdamW",
       {{"lr", 0.01}, {"bias_correction", false}},
       0.01,
       [](Element& e, double g, int64_t) {
         e.s0 = 0.9 * e.s0 + 0.1 * g;
         e.s1 = 0.999 * e.s1 + 0.001 * g * g;
         e.p -= 0.01 * e.s0 / (std::sqrt(e.s1) + 1e-8);
       }},
      {"Adagrad",
       "Adagrad",
       {{"lr", 0.1}, {"weight_decay", 0.01}, {"lr_decay", 0.5}},
       0.1,
       [](Element& e, double g, int64_t t) {
         g += 0.01 * e.p;
         e.s0 += g * g;
         e.p -= 0.1 / (1 + 0.5 * static_cast<double>(t - 1)) * g / (std::sqrt(e.s0) + 1e-10);
       }},
      {"SGD",
       "SGD",
       {{"lr", 0.05}, {"weight_decay", 0.1}},
       0.05,
       [](Element& e, double g, int64_t) { e.p -= 0.05 * (g + 0.1 * e.p); }},
      {"SGD with momentum",
       "SGD",
       {{"lr", 0.05}, {"momentum", 0.9}, {"dampening", 0.5}},
       0.05,
       [](Element& e, double g, int64_t t) {
         e.s0 = t == 1 ? g : 0.9 * e.s0 + 0.5 * g;
         e.p -= 0.05 * e.s0;
       }},
      {"SGD, Nesterov",
       "SGD",
       {{"lr", 0.05}, {"momentum", 0.9}, {"nesterov", true}},
       0.05,
       [](Element& e, double g, int64_t t) {
         e.s0 = t == 1 ? g : 0.9 * e.s0 + g;
         e.p -= 0.05 * (g + 0.9 * e.s0);
       }},
      {"Lion",
       "Lion",
       {{"lr", 0.001}, {"betas", {0.9, 0.99}}, {"weight_decay", 0.1}},
       0.001,
       [](Element& e, double g, int64_t) {
         const double c = 0.9 * e.s0 + 0.1 * g;
         e.p = e.p * (1 - 0.001 * 0.1) - std::copysign(0.001, c);
         e.s0 = 0.99 * e.s0 + 0.01 * g;
       }},
      {"Muon's AdamW",
       "Muon",
       {{"adam_lr", 0.01}, {"weight_decay", 0.1}},
       0.01,
       [](Element& e, double g, int64_t t) {
         e.s0 = 0.9 * e.s0 + 0.1 * g;
         e.s1 = 0.95 * e.s1 + 0.05 * g * g;
         const double m = e.s0 / (1 - std::pow(0.9, t)), v = e.s1 / (1 - std::pow(0.95, t));
         e.p -= 0.01 * (m / (std::sqrt(v) + 1e-10) + 0.1 * e.p);
       }},
  };
}

template <typename T>
std::vector<float> Random(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> x(n);
  for (float& value : x) value = static_cast<float>(T(normal(engine)));
  return x;
}

// Twenty updates of values that reach 4, each with a few roundings of half a unit (2.4e-7).
constexpr double kTolerance = 4e-6;

template <typename T>
void CompareElementwise() {
  constexpr int64_t n = 300;
  for (const Case& c : Elementwise()) {
    SCOPED_TRACE(c.name);
    const auto rule = MakeRule(c.type, c.params);
    ASSERT_NE(rule, nullptr);
    EXPECT_EQ(rule->other().lr(), c.lr);
    const auto start = Random<float>(n, 1);
    Stepped<T> param(rule->other(), start);
    std::vector<Element> want;
    for (const float p : start) want.push_back({p});
    for (int64_t t = 1; t <= 20; ++t) {
      const auto grad = Random<T>(n, 10 + static_cast<uint32_t>(t));
      ASSERT_TRUE(param.Step(grad, {.step = t, .lr = c.lr, .grad_scale = 0.5}).ok());
      for (int64_t i = 0; i < n; ++i) c.formula(want[i], 0.5 * grad[i], t);
    }
    const size_t states = rule->other().state_names().size();
    for (int64_t i = 0; i < n; ++i) {
      // 1 - 0.999 in fp32 is 1.3e-5 of itself off, which shows halved in what an element moved.
      const double moved = std::abs(want[i].p - start[i]);
      ASSERT_NEAR(param.master[i], want[i].p, kTolerance + 7e-6 * moved) << i;
      for (size_t s = 0; s < states; ++s) {
        ASSERT_NEAR(param.states[s][i], s == 0 ? want[i].s0 : want[i].s1, kTolerance) << i;
      }
      ASSERT_EQ(param.weights()[i], static_cast<float>(T(param.master[i]))) << i;
    }
  }
}

TEST(Rules, ElementwiseFormulasInFp32) { CompareElementwise<float>(); }
TEST(Rules, ElementwiseFormulasInBf16) { CompareElementwise<BF16>(); }

TEST(Rules, LambsFormula) {
  constexpr int64_t n = 500;
  const auto rule = MakeRule("Lamb", {{"lr", 0.01}, {"weight_decay", 0.1}, {"max_coeff", 0.9}});
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(rule->scope(), UpdateRule::Scope::kNorms);
  const auto start = Random<float>(n, 1);
  Stepped<float> param(*rule, start);
  std::vector<Element> want;
  for (const float p : start) want.push_back({p});
  for (int64_t t = 1; t <= 20; ++t) {
    const auto grad = Random<float>(n, 10 + static_cast<uint32_t>(t));
    ASSERT_TRUE(param.Step(grad, {.step = t, .lr = 0.01}).ok());
    std::vector<double> u(n);
    double weights = 0, direction = 0;
    for (int64_t i = 0; i < n; ++i) {
      Element& e = want[i];
      e.s0 = 0.9 * e.s0 + 0.1 * grad[i];
      e.s1 = 0.999 * e.s1 + 0.001 * grad[i] * static_cast<double>(grad[i]);
      u[i] = e.s0 / (std::sqrt(e.s1) + 1e-8) + 0.1 * e.p;
      weights += e.p * e.p;
      direction += u[i] * u[i];
    }
    const double ratio = std::clamp(std::sqrt(weights / direction), 0.01, 0.9);
    const double size = 0.01 * std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t));
    for (int64_t i = 0; i < n; ++i) want[i].p -= size * ratio * u[i];
  }
  for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(param.master[i], want[i].p, kTolerance) << i;
}

// A sharded caller: parts on their own, the sums or the matrix brought together in between.
TEST(Rules, PartsGiveTheBitsOfTheWhole) {
  constexpr int64_t rows = 24, columns = 40, n = rows * columns;
  const auto gemm = kernels::CreateSimdGemm();
  TaskPool pool(3);
  const Tools tools = {kernels::BestOps(DType::kF32), pool, gemm.get()};
  for (const char* type : {"AdamW", "Adagrad", "SGD", "Lion", "Lamb", "Muon"}) {
    SCOPED_TRACE(type);
    const auto rule = MakeRule(type, {{"lr", 0.01}, {"weight_decay", 0.1}});
    ASSERT_NE(rule, nullptr);
    const auto start = Random<float>(n, 1);
    Stepped<float> whole(*rule, start), cut(*rule, start);
    std::vector<float> scratch(rule->scratch_floats(rows, columns));
    for (int64_t t = 1; t <= 3; ++t) {
      const StepScalars scalars = {.step = t, .lr = 0.01, .grad_scale = 0.7};
      const auto grad = Random<float>(n, 10 + static_cast<uint32_t>(t));
      // LAMB's sums are the one thing that is added in the order of the parts: as a world of two
      // ranks does at every stage.
      const std::vector<int64_t> edges = {0, 333, n};
      const auto part = [&](Stepped<float>& param, size_t i) {
        const int64_t at = edges[i];
        return UpdateSpan{.n = edges[i + 1] - at,
                          .grad = grad.data() + at,
                          .master = param.master.data() + at,
                          .states = {param.states[0].data() + at, param.states[1].data() + at},
                          .weights = param.master.data() + at,
                          .direction = param.direction.data() + at};
      };
      ParamSums sums;
      for (size_t i = 0; i < 2; ++i) {
        ParamSums own;
        rule->Prepare(tools, scalars, part(cut, i), &own);
        sums.weights += own.weights;
        sums.direction += own.direction;
      }
      if (rule->scope() == UpdateRule::Scope::kMatrix) {
        ASSERT_TRUE(
            rule->TransformWhole(tools, rows, columns, cut.direction.data(), scratch.data()).ok());
      }
      for (size_t i = 0; i < 2; ++i) rule->Apply(tools, scalars, part(cut, i), sums);
      ASSERT_TRUE(whole.Step(grad, scalars, rows, columns).ok());
    }
    if (rule->scope() == UpdateRule::Scope::kNorms) {
      EXPECT_LE(MaxDifference(cut.master, whole.master), 1e-6);
    } else {
      EXPECT_EQ(cut.master, whole.master);
    }
    EXPECT_EQ(cut.states, whole.states);
  }
}

// The direction that Muon takes has singular values near 1: X X^T is near the unit matrix on the
// shorter side. The quintic ends in about [0.68, 1.13] (the post in muon.cc).
TEST(Rules, MuonBringsSingularValuesNearOne) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{16, 64}, {64, 16}, {32, 32}}) {
    const auto rule = MakeRule("Muon", {{"momentum", 0.0}, {"nesterov", false}});
    const auto grad = Random<float>(rows * columns, 3);
    Stepped<float> param(*rule, std::vector<float>(grad.size(), 0.0f));
    ASSERT_TRUE(param.Step(grad, {.step = 1, .lr = 1.0}, rows, columns).ok());
    double sum = 0;
    for (const float x : param.direction) sum += static_cast<double>(x) * x;
    const double scale = std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns));
    const double mean = sum / scale / static_cast<double>(std::min(rows, columns));
    EXPECT_GT(mean, 0.5);
    EXPECT_LT(mean, 1.3);
  }
}

TEST(Rules, MuonIsTheSameOnAnyNumberOfThreads) {
  constexpr int64_t rows = 700, columns = 300;
  const auto rule = MakeRule("Muon", Json::object());
  const auto gemm = kernels::CreateSimdGemm();
  const auto start = Random<float>(rows * columns, 3);
  std::vector<float> scratch(rule->scratch_floats(rows, columns));
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 3}) {
    TaskPool pool(threads);
    results.push_back(start);
    const kernels::Ops& ops = kernels::BestOps(DType::kF32);
    const Status status = rule->TransformWhole({ops, pool, gemm.get()}, rows, columns,
                                               results.back().data(), scratch.data());
    ASSERT_TRUE(status.ok()) << status.message();
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(Rules, AnIterationHasAnEnd) {
  const auto message = [](int64_t steps) {
    return CreateRule({{"type", "Muon"}, {"params", {{"ns_steps", steps}}}}).status().message();
  };
  EXPECT_EQ(message(100), "");
  EXPECT_EQ(message(1000000000), "optimizer.params.ns_steps is 1000000000, not in 1..100");
}

TEST(Rules, UnknownNamesAreRefusedWithTheNearest) {
  const auto message = [](const Json& section) {
    const auto rule = CreateRule(section);
    EXPECT_EQ(rule.status().code(), Code::kConfig);
    return rule.status().message();
  };
  const auto says = [&](const Json& section, const char* word) {
    const std::string text = message(section);
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  says({{"type", "Adamx"}}, "did you mean adam");
  says({{"type", "Lion"}, {"params", {{"weight_decy", 0.1}}}}, "did you mean weight_decay?");
  says({{"type", "Lion"}, {"params", {{"eps", 0.1}}}}, "optimizer.params.eps");
  says({{"type", "Lion"}, {"parms", {}}}, "did you mean params?");
  says({{"type", "SGD"}, {"params", {{"lr", -1}}}}, "optimizer.params.lr is -1");
  says({{"type", "SGD"}, {"params", {{"nesterov", true}}}}, "needs a momentum");
  says({{"type", "Adam"}, {"params", {{"betas", {0.9}}}}}, "two numbers in [0, 1)");
  says({{"type", "Adam"}, {"params", {{"amsgrad", true}}}}, "amsgrad = true is not supported");
  says({{"type", "Lamb"}, {"params", {{"min_coeff", 20}}}}, "min_coeff 20 is above");
  says({{"type", "Muon"}, {"params", {{"ns_method", "cubic"}}}}, "\"gram\" or \"standard\"");
  says({{"type", "Adam"}, {"params", 3}}, "not an object");
  says({{"params", Json::object()}}, "optimizer.type is missing");
  says(Json(3), "not an object");
  says({{"type", "Adam"}, {"legacy_fusion", true}}, "legacy_fusion");
}

TEST(Rules, StatesHaveTheNamesOfCheckpoints) {
  const auto names = [](const UpdateRule& rule) {
    std::string all;
    for (const char* name : rule.state_names()) all += std::string(name) + " ";
    return all;
  };
  EXPECT_EQ(names(*MakeRule("adam", {})), "exp_avg exp_avg_sq ");
  EXPECT_EQ(names(*MakeRule("Lamb", {})), "exp_avg exp_avg_sq ");
  EXPECT_EQ(names(*MakeRule("LION", {})), "exp_avg ");
  EXPECT_EQ(names(*MakeRule("Adagrad", {})), "sum ");
  EXPECT_EQ(names(*MakeRule("SGD", {})), "");
  EXPECT_EQ(names(*MakeRule("SGD", {{"momentum", 0.9}})), "momentum_buffer ");
  const auto muon = MakeRule("Muon", {{"lr", 0.05}, {"adam_lr", 0.001}});
  EXPECT_EQ(names(*muon), "momentum_buffer ");
  EXPECT_EQ(names(muon->other()), "exp_avg exp_avg_sq ");
  EXPECT_EQ(muon->lr(), 0.05);
  EXPECT_EQ(muon->other().lr(), 0.001);
  EXPECT_EQ(Rules().size(), 7u);
}

}  // namespace
}  // namespace ds::optim
