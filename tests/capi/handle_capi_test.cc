// Handles that are gone, that keep others alive, and that are of another kind.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "support/c_calls.h"

using ds::test::TakeMessage;

namespace {

// The log, for what functions without a status have to say.
class Handles : public testing::Test {
 protected:
  void SetUp() override {
    ds_log_sink sink = DS_LOG_SINK_INIT;
    sink.level = DS_LOG_ERROR;
    sink.user_data = &log_;
    sink.fn = [](ds_log_level, const char*, const char* message, void* user_data) {
      static_cast<std::vector<std::string>*>(user_data)->push_back(message);
    };
    ASSERT_EQ(ds_log_set_sink(&sink), DS_OK);
  }
  void TearDown() override {
    const ds_log_sink sink = DS_LOG_SINK_INIT;
    EXPECT_EQ(ds_log_set_sink(&sink), DS_OK);
  }
  std::vector<std::string> log_;
};

ds_engine* CreateEngine(ds_comm* comm) {
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  ds_engine* engine = nullptr;
  EXPECT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
  return engine;
}

ds_param* Register(ds_engine* engine, const char* name) {
  const int64_t numel = 4;
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  desc.name = name;
  desc.shape = &numel;
  desc.ndim = 1;
  ds_param* param = nullptr;
  EXPECT_EQ(ds_param_register(engine, &desc, &param), DS_OK) << ds_error_peek_message();
  return param;
}

TEST_F(Handles, AreRefusedAfterTheirEnd) {
  ds_comm* comm = nullptr;
  ASSERT_EQ(ds_comm_create_self(nullptr, &comm), DS_OK);
  ds_engine* engine = CreateEngine(comm);
  ds_param* w = Register(engine, "w");
  ds_comm_destroy(comm);
  int32_t rank = -1;
  EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "comm is not a ds_comm: it was destroyed, or never was one");
  EXPECT_EQ(rank, -1);
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  ds_engine* none = nullptr;
  EXPECT_EQ(ds_engine_create(&options, &none), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "options.comm is not a ds_comm: it was destroyed, or never was one");

  EXPECT_EQ(ds_engine_step(engine, nullptr), DS_OK) << "it keeps the group";
  ds_engine_destroy(engine);
  EXPECT_EQ(ds_engine_step(engine, nullptr), DS_ERR_INVALID_ARGUMENT);
  int64_t numel = -1;
  EXPECT_EQ(ds_param_get_numel(w, &numel), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "param is not a ds_param: it was destroyed, or never was one");
  EXPECT_EQ(numel, -1);
  EXPECT_TRUE(log_.empty());
}

TEST_F(Handles, AreDestroyedOnce) {
  ds_comm* comm = nullptr;
  ASSERT_EQ(ds_comm_create_self(nullptr, &comm), DS_OK);
  ds_engine* engine = CreateEngine(comm);
  for (int round = 0; round < 2; ++round) {
    ds_comm_destroy(comm);
    ds_engine_destroy(engine);
  }
  ASSERT_EQ(log_.size(), 2u);
  EXPECT_EQ(log_[0], "ds_comm_destroy: not a ds_comm: it was destroyed, or never was one: ignored");
  EXPECT_EQ(log_[1],
            "ds_engine_destroy: not a ds_engine: it was destroyed, or never was one: ignored");
}

TEST_F(Handles, OfTwoThreadsThatDestroyOneDoes) {
  for (int round = 0; round < 50; ++round) {
    ds_loss_scaler* scaler = nullptr;
    ASSERT_EQ(ds_loss_scaler_create(nullptr, &scaler), DS_OK);
    std::thread other([&] { ds_loss_scaler_destroy(scaler); });
    ds_loss_scaler_destroy(scaler);
    other.join();
  }
  EXPECT_EQ(log_.size(), 50u);
}

// However many are made and ended, the newest dead are told from the living.
TEST_F(Handles, StayDeadForAWhile) {
  std::vector<ds_lr_schedule*> dead;
  for (int i = 0; i < 300; ++i) {
    ds_lr_schedule* schedule = nullptr;
    ASSERT_EQ(ds_lr_schedule_create(R"({"type": "WarmupLR"})", 0.1, &schedule), DS_OK);
    ds_lr_schedule_destroy(schedule);
    dead.push_back(schedule);
    double lr = 0;
    for (size_t back = 1; back <= std::min<size_t>(dead.size(), 64); ++back) {
      ASSERT_EQ(ds_lr_schedule_get_lr(dead[dead.size() - back], 0, &lr), DS_ERR_INVALID_ARGUMENT);
    }
  }
}

// The handle that ds_comm_run_threads() lends ends with the call.
TEST_F(Handles, OfARankFunctionEndWithIt) {
  ds_comm* kept = nullptr;
  const auto keep = [](ds_comm* comm, void* user_data) {
    *static_cast<ds_comm**>(user_data) = comm;
    return DS_OK;
  };
  ASSERT_EQ(ds_comm_run_threads(1, nullptr, keep, &kept), DS_OK);
  EXPECT_EQ(ds_comm_barrier(kept), DS_ERR_INVALID_ARGUMENT);
}

}  // namespace
