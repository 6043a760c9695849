// Each layer alone: its gradients against central differences of its own forward pass.
#include "model/layer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/attention.h"
#include "model/head.h"
#include "model/mlp.h"
#include "support/model_rig.h"

namespace ds::model {
namespace {

constexpr Shape kShape{.batch = 2, .tokens = 5};
constexpr int64_t kWidth = 12, kHeads = 3, kVocab = 9;
constexpr LayerOptions kOptions{0.3f, 0.3f};

DecoderConfig Gpt2() { return {.vocab = kVocab, .layers = 1, .heads = kHeads, .width = kWidth}; }
// Four heads of six that share two keys; the heads together are wider than the stream.
DecoderConfig Llama(const Family& family) {
  return {.family = &family,
          .vocab = kVocab,
          .layers = 1,
          .heads = 4,
          .width = kWidth,
          .kv_heads = 2,
          .head_dim = 6,
          .inner = 10,
          .tied = false,
          .qkv_bias = false,
          .out_bias = false,
          .mlp_bias = false};
}
// Differences of fp32 values over 2 * kStep: noise of about 1e-5 and a truncation of the same size,
// relative to the largest gradient of the array.
constexpr float kStep = 1e-2f;
constexpr double kTolerance = 2e-3;

std::vector<float> Normal(int64_t n, uint64_t stream) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    values.push_back(static_cast<float>(RandomNormal(3, stream, static_cast<uint64_t>(i))));
  }
  return values;
}

class LayerGradient : public ::testing::Test {
 protected:
  void Register(ParamList params) {
    for (Param* param : params) {
      std::vector<float> values(static_cast<size_t>(param->spec.numel()));
      FillRandom(pool_, 5, *param, 0, values);
      // Neither zeros nor ones, so that no term of a gradient is missed.
      const auto noise = Normal(param->spec.numel(), 90);
      for (size_t i = 0; i < values.size(); ++i) values[i] += 0.1f * noise[i];
      auto id = store_.Register(param->spec, values);
      ASSERT_TRUE(id.ok());
      param->id = *id;
    }
  }

  void Allocate(int64_t bytes) {
    auto buffer = device::Buffer::Create(account_, device::MemoryKind::kScratch, bytes);
    ASSERT_TRUE(buffer.ok());
    memory_ = std::move(buffer).Take();
  }

  // `loss` must be a function of the store's weights and x_ alone.
  template <typename Loss>
  void CheckArray(const std::string& name, std::vector<float>& values,
                  const std::vector<float>& grad, Loss loss) {
    double largest = 1e-6;
    for (const float g : grad) largest = std::max(largest, std::fabs(double{g}));
    for (size_t i = 0; i < values.size(); ++i) {
      const float kept = values[i];
      values[i] = kept + kStep;
      const double up = loss();
      values[i] = kept - kStep;
      const double down = loss();
      values[i] = kept;
      EXPECT_NEAR((up - down) / (2 * kStep), grad[i], kTolerance * largest) << name << " " << i;
    }
  }

  void CheckBlock(std::unique_ptr<Layer> layer) {
    std::vector<std::unique_ptr<Layer>> layers;
    layers.push_back(std::move(layer));
    Block block(std::move(layers), kWidth);
    Register(block.params());
    const auto place = [&](Carver carver) {
      block.Plan(compute_, kShape, carver);
      block.PlanScratch(compute_, kShape, true, carver);
      return carver.bytes();
    };
    Allocate(place({nullptr, DType::kF32}));
    place({memory_.data(), DType::kF32});

    const int64_t n = kShape.rows() * kWidth;
    std::vector<float> x = Normal(n, 1), y(static_cast<size_t>(n));
    const std::vector<float> weight = Normal(n, 2);  // loss = sum of weight * y
    std::vector<float> angles(static_cast<size_t>(kShape.tokens * 6));
    RopeConfig{.theta = 30}.Fill(6, 8, 0, kShape.tokens, angles);
    const Pass pass{.compute = compute_,
                    .shape = kShape,
                    .angles = angles.data(),
                    .trains = true,
                    .seed = 11,
                    .first_sequence = 3};
    const auto loss = [&] {
      EXPECT_TRUE(block.Forward(pass, x.data(), y.data()).ok());
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += double{weight[i]} * y[i];
      return sum;
    };
    std::vector<float> dx = weight;
    // Recompute on: Backward needs no Forward before it.
    ASSERT_TRUE(block.Backward(pass, /*recompute=*/true, x.data(), dx.data()).ok());
    EXPECT_EQ(store_.held(), 0);
    CheckArray("x", x, dx, loss);
    for (const Param* param : block.params()) {
      CheckArray(param->spec.name, store_.weights(param->id), store_.grad(param->id), loss);
    }
  }

  TaskPool pool_{2};
  std::unique_ptr<kernels::Gemm> gemm_ = kernels::CreateSimdGemm();
  test::LocalParamStore store_{DType::kF32};
  device::MemoryAccount account_;
  device::Buffer memory_;
  const Compute compute_{store_, pool_, *gemm_, kernels::RefOps(DType::kF32)};
};

TEST_F(LayerGradient, Attention) {
  CheckBlock(std::make_unique<AttentionLayer>(Gpt2(), 0, "a.", "u", kOptions));
}

TEST_F(LayerGradient, AttentionThatSharesKeysAndRotates) {
  CheckBlock(std::make_unique<AttentionLayer>(Llama(LlamaFamily()), 0, "a.", "u", kOptions));
}

TEST_F(LayerGradient, AttentionWithBiases) {
  DecoderConfig config = Llama(LlamaFamily());
  config.qkv_bias = config.out_bias = true;
  CheckBlock(std::make_unique<AttentionLayer>(config, 0, "a.", "u", kOptions));
}

TEST_F(LayerGradient, AttentionThatNormalisesHeads) {
  CheckBlock(std::make_unique<AttentionLayer>(Llama(Qwen3Family()), 0, "a.", "u", kOptions));
}

DecoderConfig Dropping(DecoderConfig config) {
  config.attention_dropout = config.residual_dropout = 0.3;
  return config;
}

TEST_F(LayerGradient, AttentionWithDropout) {
  CheckBlock(std::make_unique<AttentionLayer>(Dropping(Gpt2()), 0, "a.", "u", kOptions));
}

TEST_F(LayerGradient, AttentionThatSharesKeysWithDropout) {
  CheckBlock(
      std::make_unique<AttentionLayer>(Dropping(Llama(LlamaFamily())), 0, "a.", "u", kOptions));
}

TEST_F(LayerGradient, GeluWithDropout) {
  CheckBlock(std::make_unique<GeluLayer>(Dropping(Gpt2()), "m.", "u", kOptions));
  DecoderConfig exact = Gpt2();
  exact.gelu = kernels::Gelu::kErf;
  CheckBlock(std::make_unique<GeluLayer>(exact, "m.", "u", kOptions));
}

// Beside every product an adapter, and all of it is trained.
const LoraConfig kLora{
    .size = {.rank = 2, .alpha = 3},
    .targets = {"c_attn", "c_fc", "c_proj", "q_proj", "v_proj", "up_proj", "down_proj"}};
constexpr LayerOptions kAdapted{0.3f, 0.3f, &kLora};

TEST_F(LayerGradient, AdaptersWithDropout) {
  LoraConfig lora = kLora;
  lora.dropout = 0.4;
  const LayerOptions dropping{0.3f, 0.3f, &lora, 5};
  CheckBlock(std::make_unique<AttentionLayer>(Gpt2(), 0, "a.", "u", dropping));
  CheckBlock(std::make_unique<AttentionLayer>(Llama(LlamaFamily()), 0, "a.", "u", dropping));
  CheckBlock(std::make_unique<GeluLayer>(Gpt2(), "m.", "u", dropping));
  CheckBlock(std::make_unique<SwigluLayer>(Llama(LlamaFamily()), "m.", "u", dropping));
}

TEST_F(LayerGradient, AttentionWithAdapters) {
  CheckBlock(std::make_unique<AttentionLayer>(Gpt2(), 0, "a.", "u", kAdapted));
}

TEST_F(LayerGradient, AttentionWithAdaptersOfParts) {
  CheckBlock(std::make_unique<AttentionLayer>(Llama(LlamaFamily()), 0, "a.", "u", kAdapted));
}

TEST_F(LayerGradient, GeluWithAdapters) {
  CheckBlock(std::make_unique<GeluLayer>(Gpt2(), "m.", "u", kAdapted));
}

TEST_F(LayerGradient, SwigluWithAdapters) {
  CheckBlock(std::make_unique<SwigluLayer>(Llama(LlamaFamily()), "m.", "u", kAdapted));
}

TEST_F(LayerGradient, Gelu) {
  CheckBlock(std::make_unique<GeluLayer>(Gpt2(), "m.", "u", kOptions));
}

TEST_F(LayerGradient, Swiglu) {
  for (const bool bias : {false, true}) {
    DecoderConfig config = Llama(LlamaFamily());
    config.mlp_bias = bias;
    CheckBlock(std::make_unique<SwigluLayer>(config, bias ? "b." : "m.", "u", kOptions));
  }
}

class HeadGradient : public LayerGradient, public ::testing::WithParamInterface<bool> {};

TEST_P(HeadGradient, OfEveryWeight) {
  const bool tied = GetParam();
  Param weight{.spec = {"w", {kVocab, kWidth}, "u"},
               .init = {InitRule::Kind::kNormal, kOptions.stddev}};
  DecoderConfig config = Gpt2();
  config.tied = tied;
  Head head(config, weight);
  Param* const weights[] = {&weight};
  Register(weights);
  Register(head.norm_params());
  Carver count(nullptr, DType::kF32);
  head.Plan(compute_, kShape, /*backward=*/true, count);
  Allocate(count.bytes());
  Carver carver(memory_.data(), DType::kF32);
  head.Plan(compute_, kShape, /*backward=*/true, carver);

  std::vector<float> x = Normal(kShape.rows() * kWidth, 1), dx(x.size(), NAN);
  std::vector<int32_t> targets = {0, 1, 2, 3, -1, 5, 6, 7, 8, 0};
  const Pass pass{.compute = compute_, .shape = kShape};
  const float scale = 0.25f;
  const auto loss = [&] { return scale * *head.Loss(pass, x.data(), targets.data()); };
  auto with_grad = head.LossAndGrad(pass, x.data(), targets.data(), scale, dx.data());
  ASSERT_TRUE(with_grad.ok()) << with_grad.status().message();
  EXPECT_EQ(scale * *with_grad, loss());
  EXPECT_EQ(store_.ended(weight.id), !tied);  // a tied one has still to be added to
  CheckArray("x", x, dx, loss);
  for (const Param* param : {&weight, head.norm_params()[0], head.norm_params()[1]}) {
    CheckArray(param->spec.name, store_.weights(param->id), store_.grad(param->id), loss);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, HeadGradient, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tied" : "Own"; });

}  // namespace
}  // namespace ds::model
