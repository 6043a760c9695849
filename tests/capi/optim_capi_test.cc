// ds_optim.h as a stranger uses it: on buffers of his own.
#include <deepspeed/deepspeed.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deepspeed/deepspeed.hpp>
#include <limits>
#include <string>
#include <vector>

namespace {

// Descends f(w) = |w - 1|^2 / 2, whose gradient is w - 1.
double DistanceAfter(const char* config, double lr, int64_t rows, int64_t columns) {
  deepspeed::Optimizer optimizer(config, 2);
  std::vector<float> w(64, 3.0f), grad(64);
  const bool is_matrix = rows != 0;
  std::vector<std::vector<float>> states(optimizer.state_names(is_matrix).size(),
                                         std::vector<float>(64, 0.0f));
  std::vector<float*> pointers;
  for (auto& state : states) pointers.push_back(state.data());
  ds_optim_span span = DS_OPTIM_SPAN_INIT;
  span.params = w.data();
  span.grads = grad.data();
  span.states = pointers.data();
  span.numel = 64;
  span.rows = rows;
  span.columns = columns;
  for (int64_t step = 1; step <= 200; ++step) {
    for (size_t i = 0; i < w.size(); ++i) grad[i] = w[i] - 1;
    optimizer.Step(span, step, lr);
  }
  for (size_t i = 0; i < w.size(); ++i) grad[i] = w[i] - 1;
  return optimizer.Norm(grad);
}

// From a distance of 16 (64 elements, each 2 away). Rules whose steps do not shrink with the
// gradient end in a circle around the minimum, so that it is only asked that they come near.
TEST(OptimC, EveryTypeDescends) {
  EXPECT_LT(DistanceAfter(R"({"type": "Adam"})", 0.05, 0, 0), 2);
  EXPECT_LT(DistanceAfter(R"({"type": "AdamW"})", 0.05, 0, 0), 2);
  EXPECT_LT(DistanceAfter(R"({"type": "Adagrad"})", 0.5, 0, 0), 2);
  EXPECT_LT(DistanceAfter(R"({"type": "SGD", "params": {"momentum": 0.9}})", 0.05, 0, 0), 2);
  EXPECT_LT(DistanceAfter(R"({"type": "Lion", "params": {"betas": [0.9, 0.99]}})", 0.02, 0, 0), 4);
  EXPECT_LT(DistanceAfter(R"({"type": "Lamb"})", 0.02, 0, 0), 4);
  EXPECT_LT(DistanceAfter(R"({"type": "Muon"})", 0.1, 8, 8), 4);
  EXPECT_LT(DistanceAfter(R"({"type": "Muon"})", 0.05, 0, 0), 2);  // its AdamW
}

// The four combinations of the gradients' type and of bf16 weights give the same fp32 weights.
TEST(OptimC, Bf16GradientsAndWeights) {
  deepspeed::Optimizer optimizer(R"({"type": "AdamW", "params": {"lr": 0.1}})");
  const float values[4] = {0.5f, -1.0f, 2.0f, 0.0f};  // exact in bf16
  uint16_t halves[4];
  for (int i = 0; i < 4; ++i) {
    uint32_t word = 0;
    std::memcpy(&word, &values[i], 4);
    halves[i] = static_cast<uint16_t>(word >> 16);
  }
  std::vector<std::vector<float>> results;
  for (const bool half_grads : {false, true}) {
    for (const bool half_weights : {false, true}) {
      std::vector<float> w = {1, 2, 3, 4}, m(4, 0.0f), v(4, 0.0f);
      uint16_t rounded[4] = {1, 1, 1, 1};
      float* states[2] = {m.data(), v.data()};
      ds_optim_span span = DS_OPTIM_SPAN_INIT;
      span.params = w.data();
      span.grads = half_grads ? static_cast<const void*>(halves) : values;
      span.grad_dtype = half_grads ? DS_DTYPE_BF16 : DS_DTYPE_F32;
      span.states = states;
      span.numel = 4;
      span.bf16_params = half_weights ? rounded : nullptr;
      optimizer.Step(span, 1, 0.1, 0.5);
      results.push_back(w);
      for (int i = 0; half_weights && i < 4; ++i) {
        const uint32_t word = uint32_t{rounded[i]} << 16;
        float wide = 0;
        std::memcpy(&wide, &word, 4);
        EXPECT_NEAR(wide, w[i], std::abs(w[i]) / 256);
      }
    }
  }
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

void ExpectRefused(const ds_optim_span& span, int64_t step, double lr, const char* word,
                   const char* type = R"({"type": "Muon"})") {
  deepspeed::Optimizer optimizer(type);
  try {
    optimizer.Step(span, step, lr);
    ADD_FAILURE() << "accepted; expected '" << word << "'";
  } catch (const deepspeed::Error& error) {
    EXPECT_EQ(error.status(), DS_ERR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(OptimC, RefusesSpansThatCannotBe) {
  float w[6] = {}, grad[6] = {}, m[6] = {}, v[6] = {};
  float* states[2] = {m, v};
  ds_optim_span good = DS_OPTIM_SPAN_INIT;
  good.params = w;
  good.grads = grad;
  good.states = states;
  good.numel = 6;
  good.rows = 2;
  good.columns = 3;
  const auto with = [&](auto change) {
    ds_optim_span span = good;
    change(span);
    return span;
  };
  ExpectRefused(with([](ds_optim_span& s) { s.numel = -1; }), 1, 0.1, "numel is -1");
  ExpectRefused(with([](ds_optim_span& s) { s.params = nullptr; }), 1, 0.1, "params is NULL");
  ExpectRefused(with([](ds_optim_span& s) { s.grads = nullptr; }), 1, 0.1, "grads is NULL");
  ExpectRefused(with([](ds_optim_span& s) { s.states = nullptr; }), 1, 0.1, "momentum_buffer");
  ExpectRefused(with([](ds_optim_span& s) { s.columns = 4; }), 1, 0.1, "2 x 4");
  ExpectRefused(with([](ds_optim_span& s) { s.columns = 0; }), 1, 0.1, "2 x 0");
  ExpectRefused(with([](ds_optim_span& s) { s.rows = INT64_MAX; }), 1, 0.1, "divide");
  ExpectRefused(with([](ds_optim_span& s) { s.grad_dtype = static_cast<ds_dtype>(9); }), 1, 0.1,
                "grad_dtype is 9");
  ExpectRefused(good, 0, 0.1, "step is 0");
  ExpectRefused(good, 1, std::numeric_limits<double>::quiet_NaN(), "lr is nan");
  states[1] = nullptr;
  ExpectRefused(with([](ds_optim_span& s) { s.rows = s.columns = 0; }), 1, 0.1, "exp_avg_sq");
  grad[4] = std::numeric_limits<float>::infinity();
  ExpectRefused(good, 1, 0.1, "not finite");
  for (const float x : w) EXPECT_EQ(x, 0.0f);
  for (const float x : m) EXPECT_EQ(x, 0.0f);
}

TEST(OptimC, NamesUnknownKeys) {
  ds_optim_options options = DS_OPTIM_OPTIONS_INIT;
  options.config_json = R"({"type": "AdamW", "params": {"weigth_decay": 0.1}})";
  ds_optim* optim = nullptr;
  EXPECT_EQ(ds_optim_create(&options, &optim), DS_ERR_CONFIG);
  EXPECT_EQ(optim, nullptr);
  EXPECT_NE(std::strstr(ds_error_peek_message(), "did you mean weight_decay?"), nullptr);
  ds_error_destroy(ds_error_take());
}

TEST(OptimC, ASpanMayBeEmptyOrAppliedInParts) {
  deepspeed::Optimizer optimizer(R"({"type": "SGD", "params": {"lr": 0.5}})");
  EXPECT_EQ(optimizer.lr(), 0.5);
  EXPECT_TRUE(optimizer.state_names().empty());
  float w[3] = {1, 2, 3};
  const float grad[3] = {1, 1, 1};
  ds_optim_span span = DS_OPTIM_SPAN_INIT;
  span.params = w;
  span.grads = grad;
  optimizer.Step(span, 1, 0.5);
  span.numel = 2;
  optimizer.Step(span, 1, 0.5);
  EXPECT_EQ(w[0], 0.5f);
  EXPECT_EQ(w[2], 3.0f);
}

TEST(OptimC, SchedulesCycleTheMomentum) {
  const deepspeed::LrSchedule cycle(
      R"({"type": "OneCycle", "params": {"cycle_min_lr": 0.1, "cycle_max_lr": 1.1,
          "cycle_first_step_size": 10}})",
      0.5);
  EXPECT_DOUBLE_EQ(cycle.lr(0), 0.1);
  EXPECT_NEAR(cycle.lr(10), 1.1, 1e-12);
  int32_t cycles = 0;
  double beta1 = 0, beta2 = 0;
  ASSERT_EQ(ds_lr_schedule_get_betas(cycle.get(), 10, &cycles, &beta1, &beta2), DS_OK);
  EXPECT_EQ(cycles, 1);
  EXPECT_NEAR(beta1, 0.8, 1e-12);
  EXPECT_EQ(beta2, 0.99);
  const deepspeed::LrSchedule warmup(R"({"type": "WarmupLR"})", 0.5);
  ASSERT_EQ(ds_lr_schedule_get_betas(warmup.get(), 10, &cycles, &beta1, &beta2), DS_OK);
  EXPECT_EQ(cycles, 0);
  EXPECT_THROW(warmup.lr(-1), deepspeed::Error);
}

TEST(OptimC, TheLossScaleSinksGrowsAndGoesOn) {
  ds_loss_scaler_options options = DS_LOSS_SCALER_OPTIONS_INIT;
  options.init_scale = 8;
  options.window = 2;
  options.hysteresis = 1;
  deepspeed::LossScaler scaler(&options);
  scaler.Update(true);
  EXPECT_EQ(scaler.scale(), 4.0);
  const ds_loss_scaler_state state = scaler.state();
  scaler.Update(true), scaler.Update(true);
  EXPECT_EQ(scaler.scale(), 1.0);
  EXPECT_THROW(scaler.Update(true), deepspeed::Error);
  scaler.SetState(state);
  EXPECT_EQ(scaler.scale(), 4.0);
  for (int i = 0; i < 3; ++i) scaler.Update(false);
  EXPECT_EQ(scaler.scale(), 8.0);
  double factor = 0;
  ASSERT_EQ(ds_clip_get_factor(40.0, 1.0, scaler.scale(), &factor), DS_OK);
  EXPECT_NEAR(40.0 * factor, 1.0, 1e-5);
  EXPECT_EQ(ds_clip_get_factor(std::nan(""), 1.0, 1.0, &factor), DS_ERR_INVALID_ARGUMENT);
  ds_error_destroy(ds_error_take());
}

TEST(OptimC, NormsAreSummedInDouble) {
  deepspeed::Optimizer optimizer(R"({"type": "SGD"})");
  const std::vector<float> values(100003, 0.1f);
  double alone = 0, pool = 0;
  const auto n = static_cast<int64_t>(values.size());
  ASSERT_EQ(ds_optim_get_sum_of_squares(nullptr, DS_DTYPE_F32, values.data(), n, &alone), DS_OK);
  ASSERT_EQ(ds_optim_get_sum_of_squares(optimizer.get(), DS_DTYPE_F32, values.data(), n, &pool),
            DS_OK);
  EXPECT_EQ(alone, pool);
  EXPECT_NEAR(alone, static_cast<double>(n) * 0.1f * static_cast<double>(0.1f), 1e-9);
  EXPECT_DOUBLE_EQ(optimizer.Norm(values), std::sqrt(alone));
}

}  // namespace
