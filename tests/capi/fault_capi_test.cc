// Callers that fail: rank functions and hooks that answer errors or throw, engines that end midway.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "support/c_calls.h"

using ds::test::RankOf;
using ds::test::TakeMessage;

namespace {

// However fast the peers fail of it, the rank that failed is the one that is reported.
TEST(FaultC, TheFirstFailureIsReportedNotOneThatFollowed) {
  const auto fail = [](ds_comm* comm, void*) -> ds_status {
    if (RankOf(comm) != 1) return ds_comm_barrier(comm);
    ds_error_set(DS_ERR_IO, "no such file");
    return DS_ERR_IO;
  };
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(ds_comm_run_threads(3, nullptr, fail, nullptr), DS_ERR_IO);
    ASSERT_EQ(TakeMessage(), "rank 1: no such file");
  }
}

TEST(FaultC, ARankFunctionThatThrowsTellsItsPeersWhy) {
  const auto fail = [](ds_comm* comm, void*) -> ds_status {
    if (RankOf(comm) == 1) throw std::runtime_error("odd");
    const ds_status status = ds_comm_barrier(comm);
    EXPECT_EQ(status, DS_ERR_RANK_LOST);
    EXPECT_NE(std::string(ds_error_peek_message()).find("rank 1 failed: odd"), std::string::npos)
        << ds_error_peek_message();
    return status;
  };
  EXPECT_EQ(ds_comm_run_threads(3, nullptr, fail, nullptr), DS_ERR_INTERNAL);
  EXPECT_EQ(TakeMessage(), "rank 1: odd");
}

ds_param* Register(ds_engine* engine, const char* name, int64_t numel) {
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  desc.name = name;
  desc.shape = &numel;
  desc.ndim = 1;
  ds_param* param = nullptr;
  EXPECT_EQ(ds_param_register(engine, &desc, &param), DS_OK) << ds_error_peek_message();
  return param;
}

TEST(FaultC, AHookThatThrowsLeavesTheEngineUsable) {
  ds_engine* engine = nullptr;
  ASSERT_EQ(ds_engine_create(nullptr, &engine), DS_OK);
  ds_param* w = Register(engine, "w", 4);
  int calls = 0;
  ds_grad_hook hook = DS_GRAD_HOOK_INIT;
  hook.user_data = &calls;
  hook.fn = [](const ds_grad_event*, void* user_data) -> int32_t {
    if (++*static_cast<int*>(user_data) == 1) throw std::runtime_error("odd");
    return DS_HOOK_CONTINUE;
  };
  ASSERT_EQ(ds_engine_add_grad_hook(engine, &hook), DS_OK);
  const std::vector<float> grad(4, 1.0f);
  EXPECT_EQ(ds_param_add_grad(w, DS_DTYPE_F32, grad.data(), 4), DS_ERR_INTERNAL);
  EXPECT_EQ(TakeMessage(), "odd");
  EXPECT_EQ(ds_param_add_grad(w, DS_DTYPE_F32, grad.data(), 4), DS_OK);
  EXPECT_EQ(ds_engine_step(engine, nullptr), DS_OK);
  ds_engine_destroy(engine);
}

TEST(FaultC, ARefusedRegistrationDoesNotShiftTheHandles) {
  ds_engine* engine = nullptr;
  ASSERT_EQ(ds_engine_create(nullptr, &engine), DS_OK);
  ds_param* a = Register(engine, "a", 4);
  ds_param_desc twice = DS_PARAM_DESC_INIT;
  const int64_t numel = 4;
  twice.name = "a";
  twice.shape = &numel;
  twice.ndim = 1;
  ds_param* none = nullptr;
  EXPECT_EQ(ds_param_register(engine, &twice, &none), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(none, nullptr);
  ds_param* b = Register(engine, "b", 5);
  ds_param* found = nullptr;
  ASSERT_EQ(ds_param_find(engine, "b", &found), DS_OK);
  EXPECT_EQ(found, b);
  const char* name = nullptr;
  ASSERT_EQ(ds_param_get_name(a, &name), DS_OK);
  EXPECT_STREQ(name, "a");
  ds_engine_destroy(engine);
}

// With gathers and reductions under way on one rank; the others are told, in time.
TEST(FaultC, AnEngineThatEndsMidStepStrandsNobody) {
  const auto run = [](ds_comm* comm, void*) -> ds_status {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.comm = comm;
    options.config_json = R"({"zero_optimization": {"stage": 3, "overlap_comm": true}})";
    ds_engine* engine = nullptr;
    if (const ds_status status = ds_engine_create(&options, &engine)) return status;
    std::vector<ds_param*> params;
    for (const char* name : {"a", "b", "c"}) params.push_back(Register(engine, name, 1000));
    const std::vector<float> grad(1000, 1.0f);
    ds_status status = DS_OK;
    for (int step = 0; step < 4 && status == DS_OK; ++step) {
      for (size_t i = 0; i < params.size() && status == DS_OK; ++i) {
        if (step == 2 && i == 1 && RankOf(comm) == 2) {
          ds_engine_destroy(engine);  // what follows is on its way
          ds_error_set(DS_ERR_IO, "enough");
          return DS_ERR_IO;
        }
        ds_tensor weights = DS_TENSOR_INIT;
        status = ds_param_acquire(params[i], &weights);
        if (status == DS_OK) status = ds_param_release(params[i]);
        if (status == DS_OK) {
          status = ds_param_add_grad(params[i], DS_DTYPE_F32, grad.data(), 1000);
        }
      }
      if (status == DS_OK) status = ds_engine_step(engine, nullptr);
    }
    EXPECT_EQ(status, DS_ERR_RANK_LOST) << ds_error_peek_message();
    EXPECT_NE(std::string(ds_error_peek_message()).find("rank 2"), std::string::npos)
        << ds_error_peek_message();
    ds_engine_destroy(engine);
    return status;
  };
  for (int round = 0; round < 10; ++round) {
    EXPECT_NE(ds_comm_run_threads(3, nullptr, run, nullptr), DS_OK);
    EXPECT_NE(TakeMessage().find("rank 2"), std::string::npos);
  }
}

}  // namespace
