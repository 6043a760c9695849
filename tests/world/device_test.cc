// A model and its engine on a device of its own: the same bits as on the host, and the rules that
// the test device stands for.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "engine/assembly.h"
#include "engine/engine.h"
#include "model/decoder.h"
#include "model/family.h"
#include "support/model_rig.h"
#include "support/test_device.h"

namespace ds {
namespace {

using device::Buffer;
using device::Lane;
using device::MemoryKind;

struct Trained {
  std::vector<double> losses;
  std::vector<float> master, logits;
};

Status Append(const StatePiece& piece, std::vector<float>& all) {
  all.insert(all.end(), piece.data.begin(), piece.data.end());
  return {};
}

model::DecoderConfig SmallGpt2() {
  return {.vocab = 11, .context = 8, .layers = 3, .heads = 2, .width = 16};
}
// Heads are normalised and rotated, keys shared, the window shorter than the batch, the head its
// own.
model::DecoderConfig SmallQwen3() {
  model::DecoderConfig config = {.family = &model::Qwen3Family(),
                                 .vocab = 11,
                                 .context = 8,
                                 .layers = 3,
                                 .heads = 2,
                                 .width = 16,
                                 .kv_heads = 1,
                                 .inner = 24,
                                 .tied = false,
                                 .qkv_bias = false,
                                 .out_bias = false,
                                 .mlp_bias = false,
                                 .window = 4};
  return config;
}

// Three steps of a small model on two ranks, a forward pass and a few tokens of generation.
Trained Train(const model::DecoderConfig& config, DType dtype, int stage, bool recompute,
              bool on_device) {
  const std::string text = fmt::format(
      R"({{"train_micro_batch_size_per_gpu": 2, "bf16": {{"enabled": {}}},
          "optimizer": {{"type": "AdamW", "params": {{"lr": 0.01}}}},
          "zero_optimization": {{"stage": {}, "overlap_comm": true,
                                 "stage3_prefetch_bucket_size": 2000,
                                 "stage3_max_live_parameters": 3000}}}})",
      dtype == DType::kBF16, stage);
  Trained trained;
  TaskPool pool(2);
  const auto run = [&](comm::Communicator& comm) -> Status {
    std::unique_ptr<test::TestDevice> device;
    std::unique_ptr<comm::Communicator> there;
    if (on_device) {
      device = std::make_unique<test::TestDevice>(static_cast<uint64_t>(comm.rank()) + 7);
      there = test::OnDevice(comm, *device);
    }
    DS_ASSIGN(const EngineConfig parsed, ParseConfig(text, comm.size()));
    const auto gemm = CreateGemm();
    DS_ASSIGN(const auto engine,
              Engine::Create(parsed, on_device ? *there : comm, pool, device.get()));
    DS_ASSIGN(const auto gpt, model::Decoder::Create(config, {.recompute = recompute},
                                                     engine->lane(), *gemm, engine->memory()));
    DS_TRY(gpt->RegisterParams(engine->store(), [&](const model::Param& param) {
      return model::RandomValues(pool, 5, param);
    }));
    DS_TRY(engine->Seal());
    Trained mine;
    for (uint64_t step = 0; step < 3; ++step) {
      const auto batch = test::RandomBatch(2, 6 + static_cast<int64_t>(step), 11,
                                           100 * step + static_cast<uint64_t>(comm.rank()));
      DS_ASSIGN(const double loss, gpt->ForwardBackward(batch.view(), 1.0f / 16));
      mine.losses.push_back(loss);
      DS_TRY(engine->Step().status());
    }
    const auto batch = test::RandomBatch(2, 7, 11, 9);
    DS_ASSIGN(const double loss, gpt->ForwardLoss(batch.view()));
    mine.losses.push_back(loss);
    float losses[2 * 4] = {};
    DS_TRY(gpt->TokenLosses(batch.view(), 3, losses));
    mine.losses.insert(mine.losses.end(), std::begin(losses), std::end(losses));
    mine.logits.resize(2 * 5 * 11 + 4 * 11);
    DS_TRY(gpt->Logits(batch.view(), 2, mine.logits.data()));
    float* next = mine.logits.data() + 2 * 5 * 11;
    const int32_t prompt[] = {1, 4, 7};
    DS_TRY(gpt->Prefill(prompt, next));
    for (const int32_t id : {2, 0, 10}) DS_TRY(gpt->Decode(id, next += 11));
    DS_TRY(engine->store().EndEvaluation());
    for (model::Param* param : gpt->params()) {
      const size_t before = mine.master.size();
      mine.master.resize(before + static_cast<size_t>(param->spec.numel()));
      DS_TRY(engine->store().ReadMaster(param->id, std::span(mine.master).subspan(before)));
    }
    DS_TRY(engine->store().ForEachPiece(
        [&](const StatePiece& piece) { return Append(piece, mine.master); }));
    if (comm.rank() == 0) trained = std::move(mine);
    return {};
  };
  const Status status = comm::RunThreads(2, {.timeout_seconds = 60}, run);
  EXPECT_TRUE(status.ok()) << status.message();
  return trained;
}

TEST(OnTestDevice, AModelTrainsAndSpeaksAsOnTheHost) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int stage : {0, 2, 3}) {
      for (const bool recompute : {false, true}) {
        SCOPED_TRACE(fmt::format("{} stage {} recompute {}", DTypeName(dtype), stage, recompute));
        for (const auto& config : {SmallGpt2(), SmallQwen3()}) {
          const Trained want = Train(config, dtype, stage, recompute, false);
          const Trained got = Train(config, dtype, stage, recompute, true);
          ASSERT_EQ(want.losses.size(), 4u + 8u);
          EXPECT_EQ(want.losses, got.losses);
          EXPECT_EQ(want.logits, got.logits);
          EXPECT_EQ(want.master, got.master);
          EXPECT_TRUE(std::isfinite(std::accumulate(got.logits.begin(), got.logits.end(), 0.0f)));
        }
      }
    }
  }
}

struct Rules : testing::Test {
  Rules() { account.set_device(&device); }
  Buffer Take(int64_t floats, MemoryKind kind = MemoryKind::kScratch) {
    auto made = Buffer::Create(account, kind, 4 * floats);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return std::move(made).Take();
  }
  std::vector<float> Read(const Buffer& buffer) {
    std::vector<float> values(static_cast<size_t>(buffer.bytes()) / 4);
    EXPECT_TRUE(lane.Download(values.data(), buffer.data(), buffer.bytes()).ok());
    return values;
  }

  test::TestDevice device{3};
  device::MemoryAccount account;
  TaskPool pool{1};
  const Lane lane{pool, &device.queue()};
  const kernels::Ops& ops = kernels::BestOps(DType::kF32);
};
using RulesDeathTest = Rules;

TEST_F(Rules, WorkIsDoneInItsOrder) {
  const Buffer x = Take(4), y = Take(4);
  const float two[] = {2, 2, 2, 2}, three[] = {3, 3, 3, 3};
  lane.Upload(x.data(), two, 16);
  lane.Upload(y.data(), three, 16);
  auto* xs = reinterpret_cast<float*>(x.data());
  auto* ys = reinterpret_cast<float*>(y.data());
  ops.combine(lane, 4, 1.0f, xs, 1.0f, ys, xs);   // 5
  ops.combine(lane, 4, 2.0f, xs, -1.0f, ys, ys);  // 7
  lane.Copy(x.data(), y.data(), 8);
  lane.Zero(y.data(), 4);
  EXPECT_EQ(Read(x), (std::vector<float>{7, 7, 5, 5}));
  EXPECT_EQ(Read(y), (std::vector<float>{0, 7, 7, 7}));
}

TEST_F(Rules, FreshMemoryIsPoisonedButForState) {
  for (const MemoryKind kind : {MemoryKind::kScratch, MemoryKind::kWindows}) {
    for (const float value : Read(Take(3, kind))) EXPECT_TRUE(std::isnan(value));
  }
  for (const float value : Read(Take(3, MemoryKind::kMoments))) EXPECT_EQ(value, 0.0f);
}

TEST_F(Rules, MemoryThatIsNotThereIsAnError) {
  auto made = Buffer::Create(account, MemoryKind::kScratch, int64_t{1} << 40);
  EXPECT_EQ(made.status().code(), Code::kOutOfMemory) << made.status().message();
}

TEST_F(Rules, AFailureOfWorkIsToldByWhatWaits) {
  const Buffer x = Take(1);
  (void)device.queue().Launch([] { return Error(Code::kIo, "the work failed"); });
  float value = 0;
  EXPECT_EQ(lane.Download(&value, x.data(), 4).message(), "the work failed");
  EXPECT_EQ(lane.Sync().code(), Code::kIo);
}

TEST_F(RulesDeathTest, TheHostMayNotTouchTheMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const Buffer x = Take(1);
        *reinterpret_cast<volatile float*>(x.data()) = 1;
      },
      "");
}

TEST_F(RulesDeathTest, WorkMayNotTouchTheHost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        float here[4] = {};
        lane.Zero(here, 16);
      },
      "a pointer of the host was given to work of the device");
}

TEST_F(RulesDeathTest, WorkMayNotTouchWhatIsFreed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::byte* gone = Take(1).data();
        lane.Zero(gone, 4);
      },
      "no memory that was allocated");
}

}  // namespace
}  // namespace ds
