// Every exported function while it fails on entry, and every allocation that fails, one by one:
// nothing crosses the border but a status, no output is written, nothing leaks (AddressSanitizer).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <functional>
#include <new>
#include <string>
#include <thread>

#include "base/failpoint.h"
#include "capi/dlpack.h"
#include "inject/failing_new.h"
#include "matrix_fixture.h"

void inject(const char* plan) { EXPECT_TRUE(ds::failpoint::Arm(plan).ok()); }

namespace ds {
namespace {

TEST(Inject, EveryFunctionTurnsWhatIsThrownIntoAStatus) {
  ds_log_sink quiet = DS_LOG_SINK_INIT;
  quiet.level = DS_LOG_OFF;
  ASSERT_EQ(ds_log_set_sink(&quiet), DS_OK);
  fixture f;
  open_fixture(&f, nullptr);
  test_injected(&f, "entry=1:oom", DS_ERR_OUT_OF_MEMORY);
  test_injected(&f, "entry=1:throw", DS_ERR_INTERNAL);
  test_injected(&f, "entry=1:fail:101", DS_ERR_IO);
  inject("");
  close_fixture(&f);
  EXPECT_EQ(failure_count(), 0);
}

// Calls `call` with its n-th allocation failing, for every n, each time on what `open` makes. The
// call may also do without the memory; then it must succeed.
void FailEachAllocation(const char* what, const std::function<ds_status()>& call,
                        const std::function<void()>& open, const std::function<void()>& close) {
  for (int64_t n = 1;; ++n) {
    ASSERT_LT(n, 100000) << what;
    open();
    test::FailNew(n);
    const ds_status status = call();
    const bool failed = test::StopFailingNew();
    if (status != DS_OK) {
      EXPECT_TRUE(failed) << what << ", allocation " << n << ": " << ds_error_peek_message();
      EXPECT_EQ(status, DS_ERR_OUT_OF_MEMORY)
          << what << ", allocation " << n << ": " << ds_error_peek_message();
      ds_error_destroy(ds_error_take());
    }
    close();
    if (!failed) {
      EXPECT_EQ(status, DS_OK) << what;
      return;
    }
  }
}

// Not what reads JSON: the destructor of its values allocates (it unnests them), and a destructor
// that throws ends the process.
TEST(Inject, WhatMakesAHandleLeavesNothingWhenMemoryRunsOut) {
  ds_comm* comm = nullptr;
  ds_comm* comms[2] = {};
  ds_loss_scaler* scaler = nullptr;
  FailEachAllocation(
      "ds_comm_create_self", [&] { return ds_comm_create_self(nullptr, &comm); },
      [&] { comm = nullptr; }, [&] { ds_comm_destroy(comm); });
  FailEachAllocation(
      "ds_comm_create_threads", [&] { return ds_comm_create_threads(2, nullptr, comms); },
      [&] { comms[0] = comms[1] = nullptr; },
      [&] {
        ds_comm_destroy(comms[0]);
        ds_comm_destroy(comms[1]);
      });
  float sum = 1;
  ds_ticket ticket = 0;
  FailEachAllocation(
      "a collective with a ticket",
      [&] { return ds_comm_all_reduce_typed(comm, DS_DTYPE_F32, 1, &sum, 1, &ticket); },
      [&] { ASSERT_EQ(ds_comm_create_self(nullptr, &comm), DS_OK); },
      [&] { ds_comm_destroy(comm); });
  FailEachAllocation(
      "ds_loss_scaler_create", [&] { return ds_loss_scaler_create(nullptr, &scaler); },
      [&] { scaler = nullptr; }, [&] { ds_loss_scaler_destroy(scaler); });
  float data[2] = {};
  const int64_t shape[1] = {2};
  const ds_tensor view = {data, shape, 2, DS_DTYPE_F32, 1};
  DLManagedTensorVersioned* managed = nullptr;
  FailEachAllocation(
      "ds_tensor_to_dlpack", [&] { return ds_tensor_to_dlpack(&view, 0, &managed); },
      [&] { managed = nullptr; },
      [&] {
        if (managed != nullptr) managed->deleter(managed);
      });
}

// Neither a thread that cannot be started nor a rank that runs out of memory leaves a peer waiting.
TEST(Inject, RanksOnThreadsEndTogetherWhenMemoryRunsOut) {
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 60;
  options.threads = 1;
  const auto start = std::chrono::steady_clock::now();
  FailEachAllocation(
      "ds_comm_run_threads",
      [&] {
        const auto meet = [](ds_comm* comm, void*) { return ds_comm_barrier(comm); };
        return ds_comm_run_threads(3, &options, meet, nullptr);
      },
      [] {}, [] {});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

// An engine with "w" and a hook that counts how often it was destroyed.
struct Rig {
  ds_engine* engine = nullptr;
  ds_param* w = nullptr;
  int hooks_destroyed = 0;

  void Open() {
    ASSERT_EQ(ds_engine_create(nullptr, &engine), DS_OK) << ds_error_peek_message();
    ASSERT_EQ(Register("w"), DS_OK) << ds_error_peek_message();
  }
  ds_status Register(const char* name, const char* unit = nullptr) {
    const int64_t numel = 4;
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = name;
    desc.unit = unit;
    desc.shape = &numel;
    desc.ndim = 1;
    return ds_param_register(engine, &desc, &w);
  }
  ds_status AddHook() {
    ds_grad_hook hook = DS_GRAD_HOOK_INIT;
    hook.fn = [](const ds_grad_event*, void*) -> int32_t { return DS_HOOK_CONTINUE; };
    hook.user_data = &hooks_destroyed;
    hook.destroy = [](void* user_data) { ++*static_cast<int*>(user_data); };
    return ds_engine_add_grad_hook(engine, &hook);
  }
  ds_status AddGrad() {
    const float grad[4] = {1, 1, 1, 1};
    return ds_param_add_grad(w, DS_DTYPE_F32, grad, 4);
  }
  void Close() { ds_engine_destroy(engine); }
};

TEST(Inject, AnEngineThatRunsOutOfMemorySaysSoAndCanBeDestroyed) {
  Rig rig;
  const auto run = [&](const char* what, const std::function<ds_status()>& prepare,
                       const std::function<ds_status()>& call) {
    FailEachAllocation(
        what, call,
        [&] {
          rig = Rig();
          rig.Open();
          ASSERT_EQ(prepare(), DS_OK);
        },
        [&] { rig.Close(); });
  };
  const auto ready = [] { return DS_OK; };
  float values[4];
  ds_tensor weights = DS_TENSOR_INIT;
  ds_param* found = nullptr;
  run("ds_param_register", ready, [&] { return rig.Register("another parameter of that engine"); });
  run("ds_engine_add_step_hook", ready, [&] {
    ds_step_hook hook = DS_STEP_HOOK_INIT;
    hook.fn = [](const ds_step_info*, void*) -> int32_t { return DS_HOOK_CONTINUE; };
    return ds_engine_add_step_hook(rig.engine, &hook);
  });
  run("ds_param_find", ready, [&] { return ds_param_find(rig.engine, "w", &found); });
  run("ds_engine_seal", ready, [&] { return ds_engine_seal(rig.engine); });
  run("ds_param_acquire", ready, [&] { return ds_param_acquire(rig.w, &weights); });
  run("ds_param_add_grad", ready, [&] { return rig.AddGrad(); });
  run(
      "ds_engine_step", [&] { return rig.AddGrad(); },
      [&] { return ds_engine_step(rig.engine, nullptr); });
  run("ds_param_read", ready, [&] { return ds_param_read(rig.w, values, 4); });
}

// The registration that begins a new unit places the one before. What failed there is not tried
// again on a unit of which half the arrays exist: the engine keeps the error.
TEST(Inject, AUnitThatCouldNotBePlacedIsNotTriedAgain) {
  for (const char* action : {"oom", "fail:100"}) {
    for (int hit = 1; hit <= 4; ++hit) {  // weights, gradients, two moments
      Rig rig;
      ASSERT_EQ(ds_engine_create(nullptr, &rig.engine), DS_OK);
      ASSERT_EQ(rig.Register("w", "first"), DS_OK) << ds_error_peek_message();
      ds_param* w = rig.w;
      inject(fmt::format("alloc={}:{}", hit, action).c_str());
      ASSERT_EQ(rig.Register("v", "second"), DS_ERR_OUT_OF_MEMORY) << action << hit;
      const std::string why = ds_error_peek_message();
      inject("");
      EXPECT_EQ(rig.w, w) << "outputs are untouched on failure";
      EXPECT_EQ(rig.Register("v", "second"), DS_ERR_OUT_OF_MEMORY);
      EXPECT_EQ(ds_error_peek_message(), why);
      EXPECT_EQ(ds_engine_seal(rig.engine), DS_ERR_OUT_OF_MEMORY);
      EXPECT_EQ(rig.AddGrad(), DS_ERR_OUT_OF_MEMORY);
      EXPECT_EQ(ds_engine_step(rig.engine, nullptr), DS_ERR_OUT_OF_MEMORY);
      EXPECT_EQ(ds_error_peek_message(), why);
      rig.Close();
    }
  }
}

// One rank whose memory runs out while it registers, and which stays: the others are told.
ds_status RegisterOnThree(ds_comm* comm, void* user_data) {
  std::atomic<int>& failed = *static_cast<std::atomic<int>*>(user_data);
  Rig rig;
  int32_t rank = -1;
  EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  EXPECT_EQ(ds_engine_create(&options, &rig.engine), DS_OK) << ds_error_peek_message();
  if (rank == 1) test::FailNew(1);
  const ds_status registered = rig.Register("a parameter with a name that is allocated");
  test::StopFailingNew();
  EXPECT_EQ(registered, rank == 1 ? DS_ERR_OUT_OF_MEMORY : DS_OK);
  const ds_status sealed = ds_engine_seal(rig.engine);
  EXPECT_EQ(sealed, rank == 1 ? DS_ERR_OUT_OF_MEMORY : DS_ERR_RANK_LOST);
  EXPECT_NE(std::string(ds_error_peek_message()).find("out of memory"), std::string::npos);
  ++failed;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (failed < 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_EQ(failed, 3) << "rank " << rank;
  rig.Close();
  return DS_OK;
}
TEST(Inject, PeersHearOfARegistrationThatRanOutOfMemory) {
  std::atomic<int> failed = 0;
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 60;
  EXPECT_EQ(ds_comm_run_threads(3, &options, RegisterOnThree, &failed), DS_OK)
      << ds_error_peek_message();
}

// The same where memory runs out before the peers are met, in a collective call and in the making
// of an engine; and where it does as that one meets them.
enum class Call { kReduce, kCreate, kCreateAmid };
struct Meeting {
  Call call;
  std::atomic<int> failed = 0;
};
ds_status MeetOnThree(ds_comm* comm, void* user_data) {
  auto& [call, failed] = *static_cast<Meeting*>(user_data);
  int32_t rank = -1;
  EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
  float value = 1;
  ds_engine* engine = nullptr;
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  if (rank == 1 && call != Call::kCreateAmid) test::FailNew(1);
  const ds_status met = call == Call::kReduce
                            ? ds_comm_all_reduce_typed(comm, DS_DTYPE_F32, 1, &value, 1, nullptr)
                            : ds_engine_create(&options, &engine);
  test::StopFailingNew();
  EXPECT_EQ(met, rank == 1 ? DS_ERR_OUT_OF_MEMORY : DS_ERR_RANK_LOST) << ds_error_peek_message();
  EXPECT_NE(std::string(ds_error_peek_message()).find("out of memory"), std::string::npos)
      << "rank " << rank << ": " << ds_error_peek_message();
  ++failed;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (failed < 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_EQ(failed, 3) << "rank " << rank;
  return DS_OK;
}
TEST(Inject, PeersHearOfACallThatRanOutOfMemory) {
  for (const Call call : {Call::kReduce, Call::kCreate, Call::kCreateAmid}) {
    Meeting meeting{call};
    ds_comm_options options = DS_COMM_OPTIONS_INIT;
    options.timeout_seconds = 60;
    if (call == Call::kCreateAmid) inject("comm.all_gather@1=1:oom");
    EXPECT_EQ(ds_comm_run_threads(3, &options, MeetOnThree, &meeting), DS_OK)
        << ds_error_peek_message();
    inject("");
  }
}

// What reads JSON ends the process when the destructor of a value finds no memory: each allocation
// fails in a process of its own, and no other end than that one is right.
TEST(Inject, AnEngineWhoseConfigRunsOutOfMemoryEndsNothingTwice) {
  for (int64_t n = 1; n < 120; ++n) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::set_terminate([] { ::_exit(0); });
      ds_engine* engine = nullptr;
      test::FailNew(n);
      const ds_status status = ds_engine_create(nullptr, &engine);
      test::StopFailingNew();
      ::_exit(status == DS_OK || status == DS_ERR_OUT_OF_MEMORY ? 0 : 3);
    }
    int ended = -1;
    ASSERT_EQ(::waitpid(child, &ended, 0), child);
    EXPECT_EQ(ended, 0) << "allocation " << n;
  }
}

TEST(Inject, AHookIsDestroyedOnceHoweverItsRegistrationEnds) {
  Rig rig;
  FailEachAllocation(
      "ds_engine_add_grad_hook", [&] { return rig.AddHook(); },
      [&] {
        rig = Rig();
        rig.Open();
      },
      [&] {
        rig.Close();
        EXPECT_EQ(rig.hooks_destroyed, 1);
      });
}

}  // namespace
}  // namespace ds
