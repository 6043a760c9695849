// The plan of a model's memory is what its engine then holds, kind by kind, to the byte.
#include "zero/memory_plan.h"

#include <gtest/gtest.h>

#include "engine/assembly.h"
#include "engine/engine.h"
#include "model/decoder.h"
#include "optim/rules.h"

namespace ds {
namespace {

using device::MemoryKind;

const model::DecoderConfig kModel = {
    .vocab = 61, .context = 24, .layers = 3, .heads = 3, .width = 39};

struct Case {
  const char* name;
  int world;
  const char* config;
};

class PlannedMemory : public testing::TestWithParam<Case> {};

TEST_P(PlannedMemory, IsWhatTheEngineHolds) {
  const Case& c = GetParam();
  auto config = ParseConfig(c.config, c.world);
  ASSERT_TRUE(config.ok()) << config.status().message();
  TaskPool pool(1);
  const auto gemm = CreateGemm();
  const Status status =
      comm::RunThreads(c.world, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
        DS_ASSIGN(const auto engine, Engine::Create(*config, comm, pool));
        DS_ASSIGN(const auto model,
                  model::Decoder::Create(kModel, {}, pool, *gemm, engine->memory()));
        DS_TRY(model->RegisterParams(engine->store(), [&](const model::Param& param) {
          return model::RandomValues(pool, 1, param);
        }));
        const std::vector<int32_t> ids(static_cast<size_t>(config->micro_batch * kModel.context),
                                       5);
        const model::TokenBatch batch = {config->micro_batch, kModel.context, ids.data(),
                                         ids.data()};
        for (int64_t i = 0; i < 3 * config->accumulation; ++i) {
          DS_TRY(model->ForwardBackward(batch, 0.1f).status());
          DS_TRY(engine->Step().status());
        }
        if (comm.rank() != 0) return {};

        std::vector<ParamSpec> specs;
        for (const model::Param* param : model->params()) specs.push_back(param->spec);
        DS_ASSIGN(const auto rule, optim::CreateRule(config->optimizer));
        const zero::MemoryPlan plan = zero::PlanMemory({.zero = config->zero,
                                                        .dtype = config->dtype,
                                                        .accumulation = config->accumulation,
                                                        .world = c.world,
                                                        .rule = rule.get(),
                                                        .tied_head = true},
                                                       specs);
        const auto& memory = engine->memory();
        EXPECT_EQ(plan.weights, memory.bytes(MemoryKind::kWeights));
        EXPECT_EQ(plan.gradients, memory.bytes(MemoryKind::kGradients));
        EXPECT_EQ(plan.master, memory.bytes(MemoryKind::kMaster));
        EXPECT_EQ(plan.moments, memory.bytes(MemoryKind::kMoments));
        EXPECT_EQ(plan.windows, memory.bytes(MemoryKind::kWindows));
        EXPECT_EQ(plan.scratch + model->PlanActivationBytes(batch.batch, batch.tokens),
                  memory.bytes(MemoryKind::kScratch));
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();
}

constexpr Case kCases[] = {
    {"alone", 1, R"({"train_batch_size": 2})"},
    {"stage1", 3, R"({"train_batch_size": 6, "zero_optimization": {"stage": 1}})"},
    {"stage2_bf16", 2,
     R"({"train_batch_size": 4, "bf16": {"enabled": true}, "zero_optimization": {"stage": 2}})"},
    {"stage2_accumulation", 2,
     R"({"train_batch_size": 8, "gradient_accumulation_steps": 2,
         "zero_optimization": {"stage": 2}})"},
    {"stage3_overlap", 3, R"({"train_batch_size": 3, "zero_optimization": {"stage": 3}})"},
    {"stage3_no_overlap", 2,
     R"({"train_batch_size": 4, "zero_optimization": {"stage": 3, "overlap_comm": false}})"},
    {"stage3_few_live", 2,
     R"({"train_batch_size": 4, "bf16": {"enabled": true}, "zero_optimization": {"stage": 3,
         "stage3_max_live_parameters": 30000, "stage3_prefetch_bucket_size": 25000}})"},
    {"stage3_accumulation", 2,
     R"({"train_batch_size": 8, "gradient_accumulation_steps": 2, "zero_optimization": {"stage": 3,
         "stage3_max_live_parameters": 40000}})"},
    {"hpz", 4,
     R"({"train_batch_size": 4, "zero_optimization": {"stage": 3, "zero_hpz_partition_size": 2}})"},
    {"mics", 4,
     R"({"train_batch_size": 4, "fp16": {"enabled": true},
         "zero_optimization": {"stage": 3, "mics_shard_size": 2}})"},
    {"lamb", 2,
     R"({"train_batch_size": 4, "optimizer": {"type": "Lamb"}, "zero_optimization": {"stage": 2}})"},
    {"muon", 2,
     R"({"train_batch_size": 4, "optimizer": {"type": "Muon"}, "zero_optimization": {"stage": 3}})"},
    {"sgd", 2,
     R"({"train_batch_size": 4, "optimizer": {"type": "SGD", "params": {"lr": 0.1}},
         "zero_optimization": {"stage": 1}})"},
};

INSTANTIATE_TEST_SUITE_P(Plans, PlannedMemory, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ds
