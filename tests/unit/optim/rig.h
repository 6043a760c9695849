// One parameter with its states, stepped by a rule; and the golden tables.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "optim/rules.h"
#include "support/golden.h"

namespace ds::optim {

inline std::unique_ptr<UpdateRule> MakeRule(const std::string& type, const Json& params) {
  auto rule = CreateRule({{"type", type}, {"params", params}});
  EXPECT_TRUE(rule.ok()) << rule.status().message();
  return rule.ok() ? std::move(rule).Take() : nullptr;
}

// The cases of tests/golden/`name`.
inline Json GoldenCases(const std::string& name) {
  const std::string path = test::GoldenPath(name);
  auto text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << path;
  if (!text.ok()) return Json::array();
  auto json = ParseJson(*text, path);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? (*json)["cases"] : Json::array();
}

// A number of a golden table, where "inf" and "nan" are text.
inline double Number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}
inline std::vector<float> Floats(const Json& values) {
  std::vector<float> floats;
  for (const Json& value : values) floats.push_back(static_cast<float>(Number(value)));
  return floats;
}

// T: dtype of gradients and weights; the master is fp32.
template <typename T>
class Stepped {
 public:
  Stepped(const UpdateRule& rule, const std::vector<float>& start)
      : rule_(rule),
        master(start),
        states(kMaxStates, std::vector<float>(start.size(), 0.0f)),
        weights_(start.size()),
        direction(start.size()) {}

  Status Step(const std::vector<float>& grads, const StepScalars& scalars, int64_t rows = 0,
              int64_t columns = 0) {
    std::vector<T> grad;
    for (const float g : grads) grad.push_back(T(g));
    std::vector<float> scratch(rule_.scratch_floats(rows, columns));
    const auto n = static_cast<int64_t>(master.size());
    UpdateSpan span = {.n = n,
                       .grad = grad.data(),
                       .master = master.data(),
                       .states = {states[0].data(), states[1].data()},
                       .weights = weights_.data(),
                       .direction = direction.data()};
    if (sizeof(T) == 4) span.weights = master.data();
    const Tools tools = {kernels::BestOps(DTypeOf<T>()), pool_, gemm_.get()};
    return UpdateWhole(rule_, tools, scalars, span, rows, columns, scratch.data());
  }
  // The weights in T, widened.
  std::vector<float> weights() const {
    if (sizeof(T) == 4) return master;
    std::vector<float> wide;
    for (const T& weight : weights_) wide.push_back(static_cast<float>(weight));
    return wide;
  }

 private:
  const UpdateRule& rule_;
  TaskPool pool_{1};
  const std::unique_ptr<kernels::Gemm> gemm_ = kernels::CreateSimdGemm();

 public:
  std::vector<float> master;
  std::vector<std::vector<float>> states;

 private:
  std::vector<T> weights_;

 public:
  std::vector<float> direction;
};

inline double MaxDifference(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double most = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(difference <= most)) most = difference;  // NaN stays
  }
  return most;
}

}  // namespace ds::optim
