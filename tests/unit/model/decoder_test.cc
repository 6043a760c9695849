#include "model/decoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "model/family.h"
#include "support/model_rig.h"

namespace ds::model {
namespace {

using test::Batch;
using test::ExpectSameGrads;
using test::ModelRig;
using test::RandomBatch;

const DecoderConfig kLarger{.vocab = 70, .context = 40, .layers = 3, .heads = 4, .width = 64};

DecoderConfig Small(const Family& family, int64_t window = 0) {
  return {.family = &family,
          .vocab = 11,
          .context = 12,
          .layers = 2,
          .heads = 2,
          .width = 8,
          .kv_heads = 1,
          .head_dim = 6,
          .inner = 10,
          .tied = false,
          .qkv_bias = &family == &Qwen2Family(),
          .out_bias = false,
          .mlp_bias = false,
          .rope = {.theta = 40},
          .window = window,
          .windowed = {}};
}

// Central differences of the whole loss, in fp32: tolerance relative to the largest gradient of
// each array.
TEST(Decoder, GradientOfEveryWeight) {
  ModelRig rig({});
  Batch batch = RandomBatch(2, 6, 11, 4);
  batch.targets[3] = -1;
  const float scale = 1.0f / 11;
  const double loss = rig.Step(batch, scale);
  EXPECT_EQ(loss, rig.Loss(batch));
  for (ParamId id = 0; id < rig.store.size(); ++id) {
    const std::vector<float> grad = rig.store.grad(id);
    std::vector<float>& weights = rig.store.weights(id);
    double largest = 1e-5;
    for (const float g : grad) largest = std::max(largest, std::fabs(double{g}));
    for (size_t i = 0; i < weights.size(); ++i) {
      const float kept = weights[i], step = 3e-3f;
      weights[i] = kept + step;
      const double up = rig.Loss(batch);
      weights[i] = kept - step;
      const double down = rig.Loss(batch);
      weights[i] = kept;
      EXPECT_NEAR(scale * (up - down) / (2 * step), grad[i], 3e-3 * largest)
          << rig.store.spec(id).name << " " << i;
    }
  }
}

// Two documents in a row and one that is padded on the left: none sees what is not its own.
TEST(Decoder, FirstKeysHideWhatIsBefore) {
  for (const DecoderConfig& config :
       {Small(LlamaFamily()), Small(MistralFamily(), 3),
        DecoderConfig{.vocab = 11, .context = 12, .layers = 2, .heads = 2, .width = 8}}) {
    ModelRig rig({.config = config});
    Batch two = RandomBatch(1, 10, 11, 4);
    const std::vector<int32_t> first_keys = {0, 0, 0, 0, 4, 4, 4, 4, 4, 4};
    TokenBatch packed = two.view();
    packed.first_keys = first_keys.data();
    std::vector<float> logits(10 * 11), alone(6 * 11);
    ASSERT_TRUE(rig.model->Logits(packed, 0, logits.data()).ok());
    const TokenBatch second{.batch = 1, .tokens = 6, .ids = two.ids.data() + 4};
    ASSERT_TRUE(rig.model->Logits(second, 0, alone.data()).ok());
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(logits[44 + i], alone[i], 2e-4) << i;

    // And their gradients add up to those of each alone.
    rig.store.EndMicroBatch(/*clear=*/true);
    ASSERT_TRUE(rig.model->ForwardBackward(packed, 1.0f).ok());
    std::vector<std::vector<float>> together;
    for (ParamId id = 0; id < rig.store.size(); ++id) together.push_back(rig.store.grad(id));
    rig.store.EndMicroBatch(/*clear=*/true);
    ASSERT_TRUE(
        rig.model
            ->ForwardBackward(
                {.batch = 1, .tokens = 4, .ids = two.ids.data(), .targets = two.targets.data()},
                1.0f)
            .ok());
    rig.store.EndMicroBatch(/*clear=*/false);
    ASSERT_TRUE(rig.model
                    ->ForwardBackward({.batch = 1,
                                       .tokens = 6,
                                       .ids = two.ids.data() + 4,
                                       .targets = two.targets.data() + 4},
                                      1.0f)
                    .ok());
    for (ParamId id = 0; id < rig.store.size(); ++id) {
      const auto sum = rig.store.grad(id);
      for (size_t i = 0; i < sum.size(); ++i) {
        EXPECT_NEAR(together[static_cast<size_t>(id)][i], sum[i], 1e-2) << rig.store.spec(id).name;
      }
    }
  }
}

TEST(Decoder, RefusesFirstKeysOfTheFuture) {
  ModelRig rig({});
  const Batch batch = RandomBatch(1, 4, 11, 4);
  TokenBatch view = batch.view();
  std::vector<float> logits(4 * 11);
  for (const auto& keys : {std::vector<int32_t>{0, 2, 0, 0}, {0, 1, 0, 0}, {-1, 0, 0, 0}}) {
    view.first_keys = keys.data();
    EXPECT_EQ(rig.model->Logits(view, 0, logits.data()).code(), Code::kInvalidArgument);
  }
}

TEST(Decoder, RegistersHuggingFaceNamesInForwardOrder) {
  ModelRig rig({});
  ASSERT_EQ(rig.store.size(), 2 + 2 * 12 + 2);
  EXPECT_EQ(rig.store.spec(0).name, "transformer.wte.weight");
  EXPECT_EQ(rig.store.spec(1).name, "transformer.wpe.weight");
  EXPECT_EQ(rig.store.spec(2).name, "transformer.h.0.ln_1.weight");
  EXPECT_EQ(rig.store.spec(4).name, "transformer.h.0.attn.c_attn.weight");
  EXPECT_EQ(rig.store.spec(4).shape, (std::vector<int64_t>{8, 24}));
  EXPECT_EQ(rig.store.spec(4).unit, "h.0");
  EXPECT_EQ(rig.store.spec(25).name, "transformer.h.1.mlp.c_proj.bias");
  EXPECT_EQ(rig.store.spec(27).name, "transformer.ln_f.bias");
  int64_t total = 0;
  for (ParamId id = 0; id < rig.store.size(); ++id) {
    EXPECT_EQ(rig.store.spec(id).weight_decay, rig.store.spec(id).shape.size() > 1);
    total += rig.store.spec(id).numel();
  }
  EXPECT_EQ(total, ModelRig::Options{}.config.parameters());
}

TEST(Decoder, RecomputeGivesTheSameBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ModelRig keep({.config = kLarger, .dtype = dtype, .reference = false});
    ModelRig again({.config = kLarger, .dtype = dtype, .recompute = true, .reference = false});
    const Batch batch = RandomBatch(3, 33, kLarger.vocab, 9);
    EXPECT_EQ(keep.Step(batch, 0.01f), again.Step(batch, 0.01f));
    ExpectSameGrads(keep.store, again.store);
    EXPECT_LT(again.model->activation_bytes(), keep.model->activation_bytes());
  }
}

TEST(Decoder, ThreadsGiveTheSameBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Batch batch = RandomBatch(3, 40, kLarger.vocab, 9);
    ModelRig one({.config = kLarger, .dtype = dtype, .reference = false});
    const double loss = one.Step(batch, 0.01f);
    for (const int threads : {2, 3}) {
      ModelRig many({.config = kLarger, .dtype = dtype, .threads = threads, .reference = false});
      EXPECT_EQ(loss, many.Step(batch, 0.01f));
      ExpectSameGrads(one.store, many.store);
    }
  }
}

// The SIMD row against ref: the same model up to fp32 rounding.
TEST(Decoder, BestOpsAgreeWithReference) {
  const Batch batch = RandomBatch(2, 40, kLarger.vocab, 9);
  ModelRig ref({.config = kLarger});
  ModelRig best({.config = kLarger, .reference = false});
  const double loss = ref.Step(batch, 0.0125f);
  EXPECT_NEAR(best.Step(batch, 0.0125f), loss, 1e-5 * loss);
  for (ParamId id = 0; id < ref.store.size(); ++id) {
    const auto a = ref.store.grad(id), b = best.store.grad(id);
    double largest = 1e-3;
    for (const float g : a) largest = std::max(largest, std::fabs(double{g}));
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_NEAR(a[i], b[i], 2e-5 * largest) << ref.store.spec(id).name << " " << i;
    }
  }
}

TEST(Decoder, BFloat16IsNearFp32) {
  const Batch batch = RandomBatch(2, 40, kLarger.vocab, 9);
  ModelRig wide({.config = kLarger, .spread = 2});
  ModelRig narrow({.config = kLarger, .dtype = DType::kBF16, .spread = 2});
  const double loss = wide.Step(batch, 0.0125f);
  EXPECT_NEAR(narrow.Step(batch, 0.0125f), loss, 5e-3 * loss);
  for (ParamId id = 0; id < wide.store.size(); ++id) {
    const auto a = wide.store.grad(id), b = narrow.store.grad(id);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += (a[i] - b[i]) * (a[i] - b[i]);
      norm += a[i] * a[i];
    }
    EXPECT_LT(std::sqrt(difference), 0.06 * std::sqrt(norm)) << wide.store.spec(id).name;
  }
}

// A second micro-batch adds: twice the same one doubles every gradient, in fp32 exactly.
TEST(Decoder, GradientsAccumulate) {
  ModelRig rig({});
  const Batch batch = RandomBatch(2, 6, 11, 4);
  rig.Step(batch);
  std::vector<std::vector<float>> once;
  for (ParamId id = 0; id < rig.store.size(); ++id) once.push_back(rig.store.grad(id));
  rig.store.EndMicroBatch(/*clear=*/false);
  ASSERT_TRUE(rig.model->ForwardBackward(batch.view(), 1.0f).ok());
  for (ParamId id = 0; id < rig.store.size(); ++id) {
    const auto twice = rig.store.grad(id);
    const auto& first = once[static_cast<size_t>(id)];
    for (size_t i = 0; i < twice.size(); ++i) {
      EXPECT_NEAR(twice[i], 2 * first[i], 1e-4 * (1e-2 + std::fabs(first[i])))
          << rig.store.spec(id).name << " " << i;
    }
  }
}

// That of padding_idx in torch's embedding: what it is fed learns nothing, all else as ever. What a
// tied head learns of that token stays.
TEST(Decoder, ThePaddingRowIsNotTrained) {
  for (const bool tied : {false, true}) {
    DecoderConfig config = {.family = &LlamaFamily(),
                            .vocab = 11,
                            .context = 8,
                            .layers = 2,
                            .heads = 2,
                            .width = 8,
                            .inner = 12};
    config.tied = tied;
    ModelRig plain({.config = config});
    config.pad_token = 3;
    ModelRig padded({.config = config});
    Batch batch = RandomBatch(2, 6, 11, 4);
    batch.ids[2] = batch.ids[7] = 3;
    plain.Step(batch);
    padded.Step(batch);
    for (ParamId id = 0; id < plain.store.size(); ++id) {
      const auto with = padded.store.grad(id), without = plain.store.grad(id);
      const bool embedding = plain.store.spec(id).name == "model.embed_tokens.weight";
      for (size_t i = 0; i < with.size(); ++i) {
        if (!embedding || i / 8 != 3) {
          EXPECT_EQ(with[i], without[i]) << plain.store.spec(id).name << " " << i;
        } else {
          EXPECT_NE(with[i], without[i]) << i;
          EXPECT_EQ(with[i] == 0, !tied) << i;
        }
      }
    }
  }
}

// One unit at a time: each block is acquired in forward and again in backward, and its gradients
// are complete before the next block's begin.
TEST(Decoder, AcquiresAUnitAtATime) {
  ModelRig rig({});
  rig.Step(RandomBatch(1, 4, 11, 4));
  EXPECT_EQ(rig.store.held(), 0);
  EXPECT_EQ(rig.store.most_held, 12);
  std::vector<std::string> units;  // as acquired, then "grad ..." as handed over
  for (const std::string& call : rig.store.calls) {
    const std::string kind = call.substr(0, call.find(' '));
    const std::string name = call.substr(call.find(' ') + 1);
    for (ParamId id = 0; id < rig.store.size(); ++id) {
      if (rig.store.spec(id).name != name) continue;
      const std::string event = (kind == "grad" ? "grad " : "") + rig.store.spec(id).unit;
      if (units.empty() || units.back() != event) units.push_back(event);
    }
  }
  EXPECT_EQ(units, (std::vector<std::string>{"embed", "h.0", "h.1", "ln_f", "embed", "grad ln_f",
                                             "h.1", "grad h.1", "h.0", "grad h.0", "grad embed"}));
}

TEST(Decoder, MemoryIsTakenOncePerShape) {
  ModelRig rig({.config = kLarger});
  const Batch large = RandomBatch(2, 40, kLarger.vocab, 1);
  const Batch small = RandomBatch(1, 7, kLarger.vocab, 1);
  rig.Step(large);
  const int64_t bytes = rig.model->activation_bytes();
  EXPECT_EQ(bytes, rig.model->PlanActivationBytes(2, 40));
  EXPECT_EQ(bytes, rig.account.bytes(device::MemoryKind::kScratch));
  rig.Step(small);
  rig.Loss(large);
  rig.Step(large);
  EXPECT_EQ(rig.account.peak(), bytes);
}

TEST(Decoder, RefusesBadBatches) {
  ModelRig rig({});
  Batch batch = RandomBatch(1, 4, 11, 4);
  EXPECT_EQ(rig.model->ForwardLoss({1, 9, batch.ids.data(), batch.targets.data()}).status().code(),
            Code::kInvalidArgument);
  EXPECT_FALSE(rig.model->ForwardLoss({0, 4, batch.ids.data(), batch.targets.data()}).ok());
  batch.ids[2] = 11;
  EXPECT_EQ(rig.model->ForwardLoss(batch.view()).status().message(),
            "token 2 of the batch is 11, the vocabulary has 11");
  batch.ids[2] = 0;
  batch.targets[1] = -2;
  EXPECT_EQ(rig.model->ForwardBackward(batch.view(), 1.0f).status().message(),
            "target 1 of the batch is -2, the vocabulary has 11");
}

// The head cuts rows into chunks; more rows than a chunk has must not change what comes out.
TEST(Decoder, ManyRowsAreCutIntoChunks) {
  ModelRig rig({});
  const int64_t sequences = 600, tokens = 4;  // 2400 rows, chunks of 2048
  const Batch batch = RandomBatch(sequences, tokens, 11, 2);
  const double all = rig.Step(batch);
  double parts = 0;
  std::vector<double> sums(rig.store.weights(0).size());
  const auto whole = rig.store.grad(0);
  for (int64_t begin = 0; begin < sequences * tokens; begin += 800) {
    Batch part{200, tokens, {}, {}};
    part.ids.assign(batch.ids.begin() + begin, batch.ids.begin() + begin + 800);
    part.targets.assign(batch.targets.begin() + begin, batch.targets.begin() + begin + 800);
    parts += rig.Step(part);
    const auto grad = rig.store.grad(0);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += grad[i];
  }
  EXPECT_NEAR(all, parts, 1e-6 * all);
  for (size_t i = 0; i < sums.size(); ++i) {
    EXPECT_NEAR(whole[i], sums[i], 1e-3 + 1e-4 * std::fabs(sums[i]));
  }
}

class DecoderCache : public ::testing::TestWithParam<DecoderConfig> {};

TEST_P(DecoderCache, GivesTheLogitsOfTheWholeSequence) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ModelRig rig({.config = GetParam(), .dtype = dtype});
    const Batch batch = RandomBatch(1, 40, kLarger.vocab, 6);
    std::vector<float> whole(40 * 70), step(70);
    ASSERT_TRUE(rig.model->Logits(batch.view(), 0, whole.data()).ok());
    ASSERT_TRUE(rig.model->Prefill(std::span(batch.ids).first(25), step.data()).ok());
    for (int64_t t = 24;; ++t) {
      for (int64_t v = 0; v < 70; ++v) {
        const float want = whole[static_cast<size_t>(t * 70 + v)];
        EXPECT_NEAR(step[static_cast<size_t>(v)], want, dtype == DType::kF32 ? 2e-4 : 0.5);
      }
      if (t + 1 == 40) break;
      ASSERT_TRUE(rig.model->Decode(batch.ids[static_cast<size_t>(t + 1)], step.data()).ok());
    }
    EXPECT_EQ(rig.model->Decode(0, step.data()).code(), Code::kInvalidState);  // context is full
  }
}

DecoderConfig Wider(const Family& family, int64_t window) {
  DecoderConfig config = Small(family, window);
  config.vocab = 70;
  config.context = 40;
  return config;
}
INSTANTIATE_TEST_SUITE_P(Families, DecoderCache,
                         ::testing::Values(kLarger, Wider(LlamaFamily(), 0),
                                           Wider(MistralFamily(), 9), Wider(Qwen3Family(), 0)),
                         [](const auto& info) {
                           return std::string(info.param.family->model_type);
                         });

TEST(FillRandom, DependsOnSeedNameAndPlaceAlone) {
  TaskPool one(1), three(3);
  Param param{.spec = {"transformer.wte.weight", {40000}, "embed"},
              .init = {InitRule::Kind::kNormal, 0.02f}};
  std::vector<float> a(40000), b(40000), other(40000), part(10);
  FillRandom(one, 1, param, 0, a);
  FillRandom(three, 1, param, 0, b);
  FillRandom(one, 1, param, 0, part);
  EXPECT_EQ(a, b);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), a.begin()));
  // Any range, with ends within a tile and within a group.
  const ParamValues values = RandomValues(three, 1, param);
  for (const auto& [begin, end] : {std::pair(0, 1),
                                   {3, 4},
                                   {5, 7},
                                   {6, 21},
                                   {16383, 16386},
                                   {16384, 32768},
                                   {4097, 39999},
                                   {39998, 40000},
                                   {7, 7}}) {
    std::vector<float> range(static_cast<size_t>(end - begin), -1.0f);
    ASSERT_TRUE(values.Write(begin, range).ok());
    EXPECT_TRUE(std::equal(range.begin(), range.end(), a.begin() + begin)) << begin << " " << end;
  }
  FillRandom(one, 2, param, 0, other);
  EXPECT_NE(a, other);
  double sum = 0, squares = 0;
  for (const float x : a) {
    sum += x;
    squares += double{x} * x;
  }
  EXPECT_NEAR(sum / 40000, 0, 5e-4);
  EXPECT_NEAR(std::sqrt(squares / 40000), 0.02, 3e-4);
  EXPECT_EQ(std::set<float>(a.begin(), a.end()).size() > 39000, true);
}

}  // namespace
}  // namespace ds::model
