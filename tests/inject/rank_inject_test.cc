// One rank that fails where nothing from outside could make it fail: every rank ends in an error,
// in time, and the report names the rank.
#include <deepspeed/deepspeed.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/failpoint.h"
#include "base/file.h"
#include "comm/communicator.h"
#include "comm/shared_stage.h"
#include "support/temp_dir.h"

namespace ds {
namespace {

constexpr int kRanks = 3;

struct World {
  std::string config;
  bool stays = false;  // a rank that failed stays until all have: its engine told the peers
  std::atomic<int> failed = 0;
  std::atomic<int> bad = 0;  // ranks that did not hear of it
};

ds_status AwaitAll(World& world, ds_status status) {
  ++world.failed;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (world.stays && world.failed < kRanks) {
    if (std::chrono::steady_clock::now() > end) {
      ++world.bad;
      break;
    }
    std::this_thread::yield();
  }
  return status;
}

ds_status Train(ds_engine* engine, const std::vector<ds_param*>& params) {
  const std::vector<float> grad(100, 1.0f);
  for (int step = 0; step < 3; ++step) {
    for (ds_param* param : params) {
      ds_tensor weights = DS_TENSOR_INIT;
      if (const ds_status status = ds_param_acquire(param, &weights)) return status;
      if (const ds_status status = ds_param_release(param)) return status;
      if (const ds_status status = ds_param_add_grad(param, DS_DTYPE_F32, grad.data(), 100)) {
        return status;
      }
    }
    if (const ds_status status = ds_engine_step(engine, nullptr)) return status;
  }
  return DS_OK;
}

ds_status AddHooks(ds_engine* engine) {
  ds_grad_hook grad = DS_GRAD_HOOK_INIT;
  grad.fn = [](const ds_grad_event*, void*) -> int32_t { return DS_HOOK_CONTINUE; };
  if (const ds_status status = ds_engine_add_grad_hook(engine, &grad)) return status;
  ds_step_hook step = DS_STEP_HOOK_INIT;
  step.fn = [](const ds_step_info*, void*) -> int32_t { return DS_HOOK_CONTINUE; };
  return ds_engine_add_step_hook(engine, &step);
}

ds_status RunRank(ds_comm* comm, void* user_data) {
  World& world = *static_cast<World*>(user_data);
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  options.config_json = world.config.c_str();
  ds_engine* engine = nullptr;
  if (const ds_status status = ds_engine_create(&options, &engine)) return AwaitAll(world, status);
  std::vector<ds_param*> params;
  ds_status status = AddHooks(engine);
  for (const char* name : {"a", "b", "c"}) {
    const int64_t numel = 100;
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = desc.unit = name;
    desc.shape = &numel;
    desc.ndim = 1;
    params.push_back(nullptr);
    if (status == DS_OK) status = ds_param_register(engine, &desc, &params.back());
  }
  if (status == DS_OK) status = ds_engine_seal(engine);
  if (status == DS_OK) status = Train(engine, params);
  if (status == DS_OK) status = ds_comm_barrier(comm);
  if (status == DS_OK) {
    ds_engine_destroy(engine);
    return DS_OK;
  }
  const ds_status shown = AwaitAll(world, status);
  ds_engine_destroy(engine);
  return shown;
}

std::string Config(int stage, bool overlap) {
  return fmt::format(
      R"({{"zero_optimization": {{"stage": {}, "overlap_comm": {},
          "stage3_prefetch_bucket_size": 100, "stage3_max_live_parameters": 300}}}})",
      stage, overlap);
}

// Runs a world under a plan. False: no passage came to the planned one, and nothing failed.
bool RunWorld(const std::string& plan, const std::string& config, bool stays) {
  World world;
  world.config = config;
  world.stays = stays;
  EXPECT_TRUE(failpoint::Arm(plan).ok()) << plan;
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 60;
  const auto start = std::chrono::steady_clock::now();
  const ds_status status = ds_comm_run_threads(kRanks, &options, RunRank, &world);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_TRUE(failpoint::Arm("").ok());
  EXPECT_LT(seconds.count(), 15) << plan << ", " << config;
  EXPECT_EQ(world.bad, 0) << plan << ", " << config;
  if (status == DS_OK) {
    EXPECT_EQ(world.failed, 0) << plan;
    return false;
  }
  EXPECT_EQ(world.failed, kRanks) << plan << ", " << config << ": " << ds_error_peek_message();
  return true;
}

class RankInject : public testing::TestWithParam<std::tuple<std::string, int, bool>> {};

TEST_P(RankInject, OfAnEngineThatFailsOnOneRankAllHear) {
  const auto [name, stage, overlap] = GetParam();
  for (const char* action : {"oom", "throw", "fail:101"}) {
    for (const int hit : {1, 2, 5}) {
      const bool ran = RunWorld(fmt::format("{}@1={}:{}", name, hit, action),
                                Config(stage, overlap), /*stays=*/true);
      if (!ran) continue;
      const std::string message = ds_error_peek_message();
      EXPECT_NE(message.find("rank 1"), std::string::npos) << message;
      const char* want = action[0] == 'o' ? "out of memory" : "failpoint '";
      EXPECT_NE(message.find(want), std::string::npos) << message;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Points, RankInject,
                         testing::Combine(testing::Values("comm.all_gather", "comm.reduce_scatter",
                                                          "comm.all_reduce", "comm.duplicate",
                                                          "comm.barrier"),
                                          testing::Values(0, 3), testing::Bool()));

// Wherever an allocation of state or a hook fails, on whatever rank.
TEST(RankInjectAnywhere, AllRanksEndInAnError) {
  for (const char* point : {"alloc", "hook"}) {
    for (const char* action : {"oom", "throw", "fail:100"}) {
      for (int hit = 1; hit < 40; hit += 3) {
        if (!RunWorld(fmt::format("{}={}:{}", point, hit, action), Config(3, true), false)) break;
      }
    }
  }
}

TEST(RankInjectAnywhere, ARankThatIsSlowIsWaitedFor) {
  EXPECT_FALSE(RunWorld("comm.all_reduce@2=1:delay:100;comm.all_gather@0=2:delay:100",
                        Config(3, true), false));
}

TEST(FileInject, WhatWasThereStaysAndNothingIsLeftBeside) {
  const test::TempDir folder;
  const std::string path = folder.path() + "/state.json";
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  for (const char* point : {"file.create", "file.write", "file.commit"}) {
    ASSERT_TRUE(failpoint::Arm(fmt::format("{}=1:fail:101", point)).ok());
    const Status status = WriteFileAtomic(path, "new");
    EXPECT_EQ(status.code(), Code::kIo);
    EXPECT_EQ(status.message(), fmt::format("failpoint '{}'", point));
    ASSERT_TRUE(failpoint::Arm(fmt::format("{}=1:oom", point)).ok());
    EXPECT_THROW((void)WriteFileAtomic(path, "new"), std::bad_alloc);
    ASSERT_TRUE(failpoint::Arm("").ok());
    EXPECT_EQ(*ReadFile(path), "old");
    const auto entries = std::filesystem::directory_iterator(folder.path());
    EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << point;
  }
}

// What no engine does yet.
Status UseTheRest(comm::Communicator& comm) {
  std::array<std::byte, 4> send = {}, recv = {};
  const int64_t bytes[2] = {2, 2};
  DS_TRY(comm.Broadcast("test", 0, send));
  DS_TRY(comm.AllToAll("test", send, recv));
  DS_TRY(comm.AllToAllV("test", send, bytes, recv, bytes));
  DS_TRY(comm.rank() == 0 ? comm.Send("test", 1, send) : comm.Recv("test", 0, recv));
  return comm.Split("test", 0, comm.rank()).status();
}

// A point that nothing passes tests nothing.
TEST(Failpoints, EachIsPassedByATest) {
  const test::TempDir folder;
  std::string plans;
  for (const failpoint::Point& point : failpoint::Points()) {
    plans += fmt::format("{}=1:count;", point.name);
  }
  World world;
  world.config = Config(3, true);
  ASSERT_TRUE(failpoint::Arm(plans).ok());
  ASSERT_EQ(ds_comm_run_threads(kRanks, nullptr, RunRank, &world), DS_OK)
      << ds_error_peek_message();
  ASSERT_TRUE(
      comm::RunThreads(2, {}, [](comm::Communicator& comm) { return UseTheRest(comm); }).ok());
  ASSERT_TRUE(comm::CreateSharedSegment(1).ok());
  ASSERT_TRUE(device::SharedHeap::OfProcess(1).ok());
  ASSERT_TRUE(WriteFileAtomic(folder.path() + "/file", "text").ok());
  for (const failpoint::Point& point : failpoint::Points()) {
    EXPECT_GT(failpoint::Hits(point.name), 0) << point.name;
  }
  ASSERT_TRUE(failpoint::Arm("").ok());
}

}  // namespace
}  // namespace ds
