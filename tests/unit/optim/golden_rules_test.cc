// Every row of optimizers.json and muon.json (DeepSpeed 0.19.8, torch 2.15) that is about
// something this library does.
#include <cmath>
#include <map>

#include "rig.h"

namespace ds::optim {
namespace {

struct Input {
  std::vector<float> start;
  std::vector<std::vector<float>> grads;
};

std::map<std::string, Input> Inputs(const Json& cases) {
  std::map<std::string, Input> inputs;
  for (const Json& row : cases) {
    if (!row.contains("p0")) continue;
    Input input = {Floats(row["p0"]), {}};
    for (const Json& grad : row["grads"]) input.grads.push_back(Floats(grad));
    inputs[row["input"]] = input;
  }
  return inputs;
}

// The scalars of update `step`, from the hyper-parameters and the row's schedule.
StepScalars ScalarsOf(const Json& row, int64_t step) {
  StepScalars scalars = {.step = step, .lr = row["hyper"]["lr"]};
  if (row.contains("schedule")) {
    const Json& now = row["schedule"][step - 1];
    scalars.lr = now["lr"];
    if (now.contains("betas")) scalars.betas = {now["betas"][0], now["betas"][1]};
  }
  return scalars;
}

std::string TypeOf(const std::string& optimizer) {
  if (optimizer == "torch_adagrad") return "Adagrad";
  return optimizer;
}

// Ten updates with the parameters compared where the table shows them. T = BF16: parameters of 16
// bits without an fp32 master, which here means that the master is rounded after every step.
template <typename T>
void CompareRow(const Json& row, const Input& input, double tolerance) {
  Json hyper = row["hyper"];
  if (hyper.contains("adamw_mode")) {
    hyper["adam_w_mode"] = hyper["adamw_mode"];
    hyper.erase("adamw_mode");
  }
  const auto rule = MakeRule(TypeOf(row["optimizer"]), hyper);
  ASSERT_NE(rule, nullptr);
  std::vector<float> start;
  for (const float value : input.start) start.push_back(static_cast<float>(T(value)));
  Stepped<T> param(*rule, start);
  for (int64_t step = 1; step <= 10; ++step) {
    ASSERT_TRUE(param.Step(input.grads[step - 1], ScalarsOf(row, step)).ok());
    param.master = param.weights();
    if (!row["p"].contains(std::to_string(step))) continue;
    const auto want = Floats(row["p"][std::to_string(step)]);
    for (size_t i = 0; i < want.size(); ++i) {
      // A 16-bit value may fall to the neighbour of the right one: 2^-7 of it.
      const double most = tolerance + (sizeof(T) == 2 ? std::abs(want[i]) / 128 : 0.0);
      ASSERT_NEAR(param.master[i], want[i], most) << "step " << step << ", element " << i;
    }
  }
  const auto names = rule->state_names();
  for (size_t s = 0; s < names.size(); ++s) {
    const Json& state = row["state"];
    // DeepSpeed's CPU Adagrad keeps its sum under Adam's name.
    const bool renamed = row["optimizer"] == "adagrad";
    const char* name = renamed ? "exp_avg_sq" : names[s];
    ASSERT_TRUE(state.contains(name)) << name;
    const double rounding = sizeof(T) == 2 ? 1e-6 : 5e-7;
    for (size_t i = 0; i < input.start.size(); ++i) {
      const double want = Number(state[name][i]);
      // CPU Adam takes 1 - beta in fp32: 1.3e-5 of 0.001 off, which exp_avg_sq shows.
      ASSERT_NEAR(param.states[s][i], want, rounding + 2e-5 * std::abs(want)) << name;
    }
  }
}

TEST(GoldenRules, OptimizersStepAsDeepSpeedDoes) {
  const Json cases = GoldenCases("optimizers.json");
  const auto inputs = Inputs(cases);
  std::map<std::string, int> compared;
  for (const Json& row : cases) {
    if (!row.contains("optimizer")) continue;
    SCOPED_TRACE(row["id"].get<std::string>());
    const std::string optimizer = row["optimizer"];
    const std::string dtype = row.value("param_dtype", "fp32");
    // fp16, 16-bit states and undoing a step are not in this library.
    if (optimizer == "adam_rollback" || dtype == "fp16" ||
        row.value("state_dtype", "fp32") != "fp32") {
      continue;
    }
    // Ten updates of values up to 2.5, each rounded to half a unit (1.2e-7), by other routes: as
    // much again as the table's own second route was off.
    const double other = row.contains("versus") ? Number(row["versus"]["max_abs_p"]) : 0.0;
    const Input& input = inputs.at(row["input"]);
    if (dtype == "bf16") {
      CompareRow<BF16>(row, input, 1e-4);
    } else {
      CompareRow<float>(row, input, 1.2e-6 + 2 * other);
    }
    if (HasFatalFailure()) return;
    ++compared[optimizer];
  }
  EXPECT_GE(compared["adam"], 40);
  for (const char* other : {"lion", "adagrad", "torch_adagrad", "sgd", "lamb"}) {
    EXPECT_GE(compared[other], 8) << other;
  }
}

struct Blocks {
  int64_t rows, columns;
};

// The matrices of a row: the whole, a block a head, or one of a stack of experts.
Blocks BlocksOf(const Json& row) {
  const Json& shape = row["shape"];
  if (row.value("is_expert_group", false)) return {shape[1], shape[2]};
  return {shape[0].get<int64_t>() / row.value("num_heads", 1), shape[1]};
}

// How far a Newton-Schulz iteration in that type may lie from one in fp32. It multiplies a relative
// error by up to 3.4445^5 = 485 where singular values are small: 485 * 6e-8 in fp32. Those of 16
// bits are only required to be the same matrix roughly: 485 * 2^-9 and 2^-12 bound nothing.
double MuonTolerance(const std::string& dtype) {
  return dtype == "fp32" ? 3e-5 : dtype == "bf16" ? 0.12 : 0.02;
}

TEST(GoldenRules, MuonOrthogonalisesAsDeepSpeedDoes) {
  std::map<std::string, double> worst;
  std::map<std::string, int> compared;
  int refused = 0;
  for (const Json& row : GoldenCases("muon.json")) {
    if (row["kind"] != "update") continue;
    SCOPED_TRACE(row["id"].get<std::string>());
    if (row.contains("error")) {  // 4-D shapes, and heads that do not divide: no such matrix here
      ++refused;
      continue;
    }
    const auto rule = MakeRule("Muon", {{"momentum", row["beta"]},
                                        {"nesterov", row["nesterov"]},
                                        {"ns_steps", row["ns_steps"]},
                                        {"ns_method", row["ns_method"]}});
    ASSERT_NE(rule, nullptr);
    const auto grad = Floats(row["grad"]);
    const Blocks block = BlocksOf(row);
    Stepped<float> param(*rule, std::vector<float>(grad.size(), 0.0f));
    param.states[0] = Floats(row["momentum"]);
    const Status status = param.Step(grad, {.step = 1, .lr = 1.0}, block.rows, block.columns);
    EXPECT_LE(MaxDifference(param.states[0], Floats(row["momentum_after"])), 2e-7);
    if (row.contains("update_is_finite")) {  // refused here, and DeepSpeed skips such a step
      EXPECT_EQ(status.code(), Code::kInvalidArgument);
      EXPECT_EQ(param.master, std::vector<float>(grad.size(), 0.0f));
      continue;
    }
    ASSERT_TRUE(status.ok());
    const std::string dtype = row["ns_dtype"];
    const double difference = MaxDifference(param.direction, Floats(row["update"]));
    worst[dtype] = std::max(worst[dtype], difference);
    EXPECT_LE(difference, MuonTolerance(dtype));
    ++compared[dtype];
  }
  for (const auto& [dtype, most] : worst) {
    RecordProperty("worst_" + dtype, std::to_string(most));
    printf("muon %s: %d rows, largest difference %.3g\n", dtype.c_str(), compared[dtype], most);
  }
  EXPECT_GE(compared["fp32"], 20);
  EXPECT_GE(refused, 4);
}

TEST(GoldenRules, MuonWithItsAdamTrainsAsDeepSpeedDoes) {
  int compared = 0;
  for (const Json& row : GoldenCases("muon.json")) {
    if (row["kind"] != "optimizer") continue;
    SCOPED_TRACE(row["id"].get<std::string>());
    const auto rule = MakeRule("Muon", {{"muon_lr", row["muon"]["lr"]},
                                        {"adam_lr", row["adam"]["lr"]},
                                        {"momentum", row["muon"]["momentum"]},
                                        {"weight_decay", row["muon"]["weight_decay"]},
                                        {"betas", row["adam"]["betas"]},
                                        {"eps", row["adam"]["eps"]},
                                        {"ns_method", row["ns_method"]}});
    ASSERT_NE(rule, nullptr);
    Stepped<float> w(*rule, Floats(row["w0"])), b(rule->other(), Floats(row["b0"]));
    for (int64_t step = 1; step <= 10; ++step) {
      const Json& gw = row["grads_w"][step - 1];
      ASSERT_TRUE(
          w.Step(Floats(gw), {.step = step, .lr = rule->lr()}, row["shape"][0], row["shape"][1])
              .ok());
      ASSERT_TRUE(
          b.Step(Floats(row["grads_b"][step - 1]), {.step = step, .lr = rule->other().lr()}).ok());
      const std::string shown = std::to_string(step);
      if (!row["p"].contains(shown)) continue;
      // Every step moves by lr = 0.02 times an update with that error.
      const double most = 1e-6 + static_cast<double>(step) * 0.02 * MuonTolerance(row["ns_dtype"]);
      EXPECT_LE(MaxDifference(w.master, Floats(row["p"][shown]["w"])), most) << "step " << step;
      // Theirs rounds twice a step and 1 - lr wd besides, ours once: half a unit of 4 each time.
      EXPECT_LE(MaxDifference(b.master, Floats(row["p"][shown]["b"])),
                4 * 1.2e-7 * static_cast<double>(step));
    }
    EXPECT_LE(MaxDifference(w.states[0], Floats(row["momentum"])), 1e-6);
    ++compared;
  }
  EXPECT_GE(compared, 4);
}

}  // namespace
}  // namespace ds::optim
