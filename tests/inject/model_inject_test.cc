// Models while memory runs out: each allocation of a pass, and on one rank of several.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "base/failpoint.h"
#include "inject/failing_new.h"
#include "matrix_fixture.h"
#include "support/temp_dir.h"

namespace ds {
namespace {

struct Rig {
  ds_engine* engine = nullptr;
  ds_model* model = nullptr;

  explicit Rig(const char* config = nullptr, ds_comm* comm = nullptr) {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.config_json = config;
    options.comm = comm;
    EXPECT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_model_create(engine, kModelConfig, nullptr, &model), DS_OK)
        << ds_error_peek_message();
  }
  Rig(const Rig&) = delete;
  ~Rig() {
    ds_model_destroy(model);
    ds_engine_destroy(engine);
  }

  ds_status Loss() {
    const ds_token_batch batch = Batch();
    ds_loss loss = DS_LOSS_INIT;
    return ds_model_loss(model, &batch, &loss);
  }
  ds_status Learn() {
    const ds_token_batch batch = Batch();
    ds_loss loss = DS_LOSS_INIT;
    return ds_model_forward_backward(model, &batch, 0, &loss);
  }
  ds_status Generate() {
    const int32_t prompt[2] = {1, 2};
    int32_t ids[9];
    int64_t count = 0;
    return ds_model_generate(model, prompt, 2, nullptr, 9, ids, &count);
  }

 private:
  static ds_token_batch Batch() {
    ds_token_batch batch = DS_TOKEN_BATCH_INIT;
    valid_ds_token_batch(nullptr, &batch);
    return batch;
  }
};

// Of one rank alone: what failed is said, and unless gradients were under way it can be done again.
TEST(ModelInject, APassThatRunsOutOfMemorySaysSo) {
  const std::function<ds_status(Rig&)> passes[] = {
      &Rig::Loss, [](Rig& rig) { return rig.Generate(); }, [](Rig& rig) { return rig.Learn(); }};
  for (const auto& pass : passes) {
    for (int64_t n = 1; n < 10000; ++n) {
      Rig rig;
      EXPECT_EQ(ds_engine_seal(rig.engine), DS_OK);
      test::FailNew(n);
      const ds_status status = pass(rig);
      if (!test::StopFailingNew()) {
        EXPECT_EQ(status, DS_OK) << ds_error_peek_message();
        EXPECT_GT(n, 1) << "nothing was allocated";
        break;
      }
      if (status == DS_OK) continue;  // it did without
      ASSERT_EQ(status, DS_ERR_OUT_OF_MEMORY) << n << ": " << ds_error_peek_message();
      const ds_status again = pass(rig);
      if (again != DS_OK) {
        EXPECT_EQ(again, DS_ERR_OUT_OF_MEMORY) << n;
        EXPECT_EQ(ds_engine_step(rig.engine, nullptr), again) << n << ": half a pass is lost";
      }
    }
  }
}

// Weights are gathered: a rank that fails alone tells the others, which stay until all have heard.
ds_status FailOnRankOne(ds_comm* comm, void* user_data) {
  std::atomic<int>& heard = *static_cast<std::atomic<int>*>(user_data);
  int32_t rank = -1;
  EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
  Rig rig(R"({"zero_optimization": {"stage": 3}})", comm);
  EXPECT_EQ(ds_engine_seal(rig.engine), DS_OK) << ds_error_peek_message();
  if (rank == 1) test::FailNew(1);
  const ds_status status = rig.Loss();
  test::StopFailingNew();
  EXPECT_EQ(status, rank == 1 ? DS_ERR_OUT_OF_MEMORY : DS_ERR_RANK_LOST) << ds_error_peek_message();
  EXPECT_EQ(rig.Loss(), status) << "it stays lost";
  ++heard;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (heard < 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_EQ(heard, 3) << "rank " << rank;
  return DS_OK;
}
// Without gathers nobody waits amid a save: all ranks hear of it at its end, and go on.
ds_status SaveOnTwo(ds_comm* comm, void* user_data) {
  const test::TempDir& folder = *static_cast<const test::TempDir*>(user_data);
  for (const char* stage : {"0", "1", "2"}) {
    const std::string config = fmt::format(R"({{"zero_optimization": {{"stage": {}}}}})", stage);
    Rig rig(config.c_str(), comm);
    EXPECT_EQ(ds_engine_seal(rig.engine), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_model_save(rig.model, folder.file("m").c_str()), DS_ERR_OUT_OF_MEMORY) << stage;
    EXPECT_EQ(rig.Learn(), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_engine_step(rig.engine, nullptr), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_comm_barrier(comm), DS_OK) << ds_error_peek_message();
  }
  return DS_OK;
}
TEST(ModelInject, PeersHearOfASaveThatRanOutOfMemoryAndGoOn) {
  const test::TempDir folder;
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 20;
  ASSERT_TRUE(failpoint::Arm("file.write=1+:oom").ok());
  EXPECT_EQ(ds_comm_run_threads(2, &options, SaveOnTwo, const_cast<test::TempDir*>(&folder)), DS_OK)
      << ds_error_peek_message();
  EXPECT_TRUE(failpoint::Arm("").ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder.file("m"))) << "nothing half-written";
}

TEST(ModelInject, PeersHearOfAPassThatRanOutOfMemory) {
  std::atomic<int> heard = 0;
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 60;
  EXPECT_EQ(ds_comm_run_threads(3, &options, FailOnRankOne, &heard), DS_OK)
      << ds_error_peek_message();
}

}  // namespace
}  // namespace ds
