// The C ABI as a stranger uses it: contracts of the headers, states, hooks, lifetimes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "support/c_calls.h"

using ds::test::TakeMessage;

namespace {

// An engine of one rank with one parameter "w" of 4 elements, all 1.
struct Toy {
  ds_engine* engine = nullptr;
  ds_param* w = nullptr;

  explicit Toy(const char* config = nullptr, int64_t numel = 4) {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.config_json = config;
    EXPECT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
    const std::vector<float> ones(numel, 1.0f);
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = "w";
    desc.shape = &numel;
    desc.ndim = 1;
    desc.init = ones.data();
    EXPECT_EQ(ds_param_register(engine, &desc, &w), DS_OK) << ds_error_peek_message();
  }
  ~Toy() { ds_engine_destroy(engine); }

  ds_status AddGrad(float value) {
    const std::vector<float> grad(4, value);
    return ds_param_add_grad(w, DS_DTYPE_F32, grad.data(), 4);
  }
  std::vector<float> Read() {
    std::vector<float> values(4, -1.0f);
    EXPECT_EQ(ds_param_read(w, values.data(), 4), DS_OK) << ds_error_peek_message();
    return values;
  }
};

TEST(EngineC, TrainsAndReportsTheStep) {
  Toy toy(R"({"optimizer": {"type": "AdamW", "params": {"lr": 0.5}}})");
  ASSERT_EQ(toy.AddGrad(3.0f), DS_OK);
  ds_step_info info = DS_STEP_INFO_INIT;
  ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
  EXPECT_EQ(info.applied, 1);
  EXPECT_EQ(info.skipped, 0);
  EXPECT_EQ(info.step, 1);
  EXPECT_DOUBLE_EQ(info.grad_norm, 6.0);
  EXPECT_DOUBLE_EQ(info.lr, 0.5);
  EXPECT_NEAR(info.clip_factor, 1 / 6.0, 1e-6);
  for (const float value : toy.Read()) EXPECT_NEAR(value, 0.5f, 1e-5);  // Adam's first step is lr
}

TEST(EngineC, AccumulatesAndStepsAtTheBoundary) {
  Toy toy(R"({"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2})");
  ds_step_info info = DS_STEP_INFO_INIT;
  ASSERT_EQ(toy.AddGrad(1.0f), DS_OK);
  EXPECT_EQ(toy.AddGrad(1.0f), DS_ERR_INVALID_STATE);
  EXPECT_EQ(TakeMessage(), "w: a second gradient in micro-batch 0");
  ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
  EXPECT_EQ(info.applied, 0);
  EXPECT_EQ(info.grad_norm, 0.0);
  ASSERT_EQ(toy.AddGrad(2.0f), DS_OK);
  ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
  EXPECT_EQ(info.applied, 1);
  EXPECT_DOUBLE_EQ(info.grad_norm, 3.0);  // 4 elements of (1 + 2) / 2
}

TEST(EngineC, ANormThatIsNotFiniteSkipsTheStep) {
  Toy toy;
  ASSERT_EQ(toy.AddGrad(INFINITY), DS_OK);
  ds_step_info info = DS_STEP_INFO_INIT;
  ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
  EXPECT_EQ(info.skipped, 1);
  EXPECT_EQ(info.applied, 0);
  EXPECT_EQ(info.step, 0);
  for (const float value : toy.Read()) EXPECT_EQ(value, 1.0f);
  ASSERT_EQ(toy.AddGrad(1.0f), DS_OK);
  ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
  EXPECT_EQ(info.applied, 1);
}

TEST(EngineC, GradientsInPlaceAreTheSameAsByValue) {
  Toy a, b;
  for (int step = 0; step < 3; ++step) {
    ASSERT_EQ(a.AddGrad(0.5f), DS_OK);
    ASSERT_EQ(ds_engine_step(a.engine, nullptr), DS_OK);
    ds_grad_view view = DS_GRAD_VIEW_INIT;
    ASSERT_EQ(ds_param_begin_grad(b.w, &view), DS_OK);
    EXPECT_EQ(view.accumulate, 0);
    EXPECT_EQ(view.grad.numel, 4);
    for (int i = 0; i < 4; ++i) static_cast<float*>(view.grad.data)[i] = 0.25f;
    ASSERT_EQ(ds_param_begin_grad(b.w, &view), DS_OK);
    EXPECT_EQ(view.accumulate, 1);
    for (int i = 0; i < 4; ++i) static_cast<float*>(view.grad.data)[i] += 0.25f;
    ASSERT_EQ(ds_param_end_grad(b.w), DS_OK);
    ASSERT_EQ(ds_engine_step(b.engine, nullptr), DS_OK);
  }
  EXPECT_EQ(a.Read(), b.Read());
}

TEST(EngineC, WrongStatesAreRefusedAndChangeNothing) {
  Toy toy;
  EXPECT_EQ(ds_param_release(toy.w), DS_ERR_INVALID_STATE);
  EXPECT_EQ(TakeMessage(), "w: released more often than acquired");
  EXPECT_EQ(ds_param_end_grad(toy.w), DS_ERR_INVALID_STATE);
  EXPECT_EQ(TakeMessage(), "w: end_grad without begin_grad");
  ds_tensor view = DS_TENSOR_INIT;
  ASSERT_EQ(ds_param_acquire(toy.w, &view), DS_OK);
  EXPECT_EQ(view.numel, 4);
  EXPECT_EQ(view.ndim, 1);
  EXPECT_EQ(view.shape[0], 4);
  EXPECT_EQ(ds_engine_step(toy.engine, nullptr), DS_ERR_INVALID_STATE);
  EXPECT_EQ(TakeMessage(),
            "unit.0: acquired 1 times more than released at the end of a micro-batch");
  ASSERT_EQ(ds_param_release(toy.w), DS_OK);
  float grad[3] = {};
  EXPECT_EQ(ds_param_add_grad(toy.w, DS_DTYPE_F32, grad, 3), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "w: gradient has 3 elements, registered with 4");
  EXPECT_EQ(ds_param_add_grad(toy.w, DS_DTYPE_BF16, grad, 4), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "w: gradient is bf16, the engine takes f32");
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  desc.name = "late";
  ds_param* late = toy.w;
  EXPECT_EQ(ds_param_register(toy.engine, &desc, &late), DS_ERR_INVALID_STATE);
  EXPECT_EQ(
      TakeMessage(),
      "late: registered after the engine was sealed with 1 parameters (by a call, or the first "
      "use of one)");
  EXPECT_EQ(late, toy.w) << "outputs are untouched on failure";
  EXPECT_EQ(ds_param_find(toy.engine, "nowhere", &late), DS_ERR_NOT_FOUND);
  ASSERT_EQ(toy.AddGrad(1.0f), DS_OK);
  ASSERT_EQ(ds_engine_step(toy.engine, nullptr), DS_OK) << "refused calls left it usable";
}

TEST(EngineC, BadDescriptionsAreRefused) {
  Toy toy;
  const auto refuse = [&](ds_param_desc desc, const std::string& message) {
    ds_param* out = nullptr;
    EXPECT_EQ(ds_param_register(toy.engine, &desc, &out), DS_ERR_INVALID_ARGUMENT) << message;
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(TakeMessage(), message);
  };
  const int64_t negative = -1, huge[3] = {1 << 20, 1 << 20, 1 << 20};
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  refuse(desc, "desc.name is NULL");
  desc.name = "";
  refuse(desc, "parameter name has 0 bytes, not 1 to 255");
  desc.name = "w";
  refuse(desc, "w: registered twice, first as parameter 0");
  desc.name = "v";
  desc.ndim = 9;
  refuse(desc, "v: ndim is 9, not in 0..8");
  desc.ndim = 1;
  refuse(desc, "v: shape is NULL, ndim is 1");
  desc.shape = &negative;
  refuse(desc, "v: extent -1 is below 0, or the shape above 2^40 elements");
  desc.shape = huge;
  desc.ndim = 3;
  refuse(desc, "v: extent 1048576 is below 0, or the shape above 2^40 elements");
  desc = DS_PARAM_DESC_INIT;
  desc.struct_size = 3;
  refuse(desc, "desc.struct_size is 3, expected " + std::to_string(sizeof desc) +
                   "; begin with the _INIT macro");
}

TEST(EngineC, StructsOfOtherReleasesAreReadAsFarAsKnown) {
  struct Newer {
    ds_engine_options known = DS_ENGINE_OPTIONS_INIT;
    int64_t unknown = 0;
  } newer;
  newer.known.struct_size = sizeof newer;
  ds_engine* engine = nullptr;
  ASSERT_EQ(ds_engine_create(&newer.known, &engine), DS_OK);
  ds_engine_destroy(engine);
  newer.unknown = 7;
  engine = nullptr;
  EXPECT_EQ(ds_engine_create(&newer.known, &engine), DS_ERR_UNSUPPORTED);
  EXPECT_EQ(engine, nullptr);
  ds_step_info info = DS_STEP_INFO_INIT;
  Toy toy;
  ASSERT_EQ(toy.AddGrad(1.0f), DS_OK);
  info.struct_size = offsetof(ds_step_info, clip_factor);  // shorter than in any release
  EXPECT_EQ(ds_engine_step(toy.engine, &info), DS_ERR_INVALID_ARGUMENT);
  info.struct_size = offsetof(ds_step_info, clip_factor) + sizeof info.clip_factor;  // as in 0.1
  ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
  EXPECT_EQ(info.step, 1);
}

struct HookLog {
  int calls = 0, destroyed = 0;
  int32_t answer = DS_HOOK_CONTINUE;
  ds_engine* engine = nullptr;
  std::thread::id thread;
  double sum = 0;
};

int32_t Hook(const ds_grad_event* event, void* user_data) {
  auto* log = static_cast<HookLog*>(user_data);
  ++log->calls;
  log->thread = std::this_thread::get_id();
  for (int64_t i = 0; i < event->grad.numel; ++i) {
    log->sum += static_cast<const float*>(event->grad.data)[i];
  }
  EXPECT_STREQ(event->name, "w");
  EXPECT_EQ(ds_engine_step(log->engine, nullptr), DS_ERR_INVALID_STATE) << "a call back";
  if (log->answer == DS_HOOK_ABORT) ds_error_set(DS_ERR_IO, "the hook's disk is full");
  return log->answer;
}
void Destroyed(void* user_data) { ++static_cast<HookLog*>(user_data)->destroyed; }

// Units without a name, and the frozen part of one with a name, are named here.
TEST(EngineC, AUnitMayBeNamedAsOthersAreNamedHere) {
  Toy toy;
  const auto add = [&](const char* name, const char* unit, int32_t frozen) {
    const int64_t numel = 2;
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = name;
    desc.unit = unit;
    desc.frozen = frozen;
    desc.shape = &numel;
    desc.ndim = 1;
    ds_param* param = nullptr;
    return ds_param_register(toy.engine, &desc, &param);
  };
  EXPECT_EQ(add("a", "unit.2", 0), DS_OK) << ds_error_peek_message();
  EXPECT_EQ(add("b", nullptr, 0), DS_OK) << ds_error_peek_message();  // would be unit.2 too
  EXPECT_EQ(add("c", "x", 1), DS_OK) << ds_error_peek_message();
  EXPECT_EQ(add("d", "x.frozen", 0), DS_OK) << ds_error_peek_message();
  EXPECT_EQ(add("e", "x", 0), DS_ERR_INVALID_ARGUMENT) << "that one did end";
  EXPECT_NE(TakeMessage().find("e: its unit x ended"), std::string::npos);
  EXPECT_EQ(ds_engine_seal(toy.engine), DS_OK) << ds_error_peek_message();
}

// Names are lent until the engine ends: registering more must not move them.
TEST(EngineC, ALentNameStaysWhereItIs) {
  Toy toy;
  const char* name = nullptr;
  ASSERT_EQ(ds_param_get_name(toy.w, &name), DS_OK);
  for (int i = 0; i < 2000; ++i) {
    const std::string more = "p" + std::to_string(i);
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = more.c_str();
    ds_param* param = nullptr;
    ASSERT_EQ(ds_param_register(toy.engine, &desc, &param), DS_OK) << ds_error_peek_message();
  }
  ASSERT_EQ(ds_engine_seal(toy.engine), DS_OK);
  const char* again = nullptr;
  ASSERT_EQ(ds_param_get_name(toy.w, &again), DS_OK);
  EXPECT_EQ(again, name);
  EXPECT_STREQ(name, "w");
}

TEST(HookC, RunsOnTheCallersThreadAndDecides) {
  HookLog log;
  {
    Toy toy;
    log.engine = toy.engine;
    const ds_grad_hook hook = {sizeof(ds_grad_hook), Hook, &log, Destroyed};
    ASSERT_EQ(ds_engine_add_grad_hook(toy.engine, &hook), DS_OK);
    ASSERT_EQ(toy.AddGrad(2.0f), DS_OK);
    EXPECT_EQ(log.calls, 1);
    EXPECT_EQ(log.sum, 8.0);
    EXPECT_EQ(log.thread, std::this_thread::get_id());
    ASSERT_EQ(ds_engine_step(toy.engine, nullptr), DS_OK);

    log.answer = DS_HOOK_SKIP;  // as if it had not come
    ASSERT_EQ(toy.AddGrad(2.0f), DS_OK);
    ds_step_info info = DS_STEP_INFO_INIT;
    ASSERT_EQ(ds_engine_step(toy.engine, &info), DS_OK);
    EXPECT_EQ(info.grad_norm, 0.0);

    log.answer = DS_HOOK_ABORT;
    EXPECT_EQ(toy.AddGrad(2.0f), DS_ERR_IO);
    EXPECT_EQ(TakeMessage(), "the hook's disk is full");
    for (const int32_t failed : {0, 17}) {  // 0 is what a binding answers whose callback raised
      log.answer = failed;
      EXPECT_EQ(toy.AddGrad(2.0f), DS_ERR_CALLBACK);
      EXPECT_EQ(TakeMessage(),
                "w: a gradient hook failed (answered " + std::to_string(failed) + ")");
    }
    log.answer = DS_HOOK_CONTINUE;
    ASSERT_EQ(toy.AddGrad(2.0f), DS_OK) << "a refused gradient can be handed over again";
    ASSERT_EQ(ds_engine_step(toy.engine, nullptr), DS_OK);
    EXPECT_EQ(log.destroyed, 0);
  }
  EXPECT_EQ(log.destroyed, 1);
  const ds_grad_hook hook = {sizeof(ds_grad_hook), nullptr, &log, Destroyed};
  Toy toy;
  EXPECT_EQ(ds_engine_add_grad_hook(toy.engine, &hook), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(log.destroyed, 2) << "also when adding fails";
  // As a later version has it, which asks for something unknown here.
  const struct {
    ds_grad_hook known;
    void* more;
  } later = {{sizeof later, Hook, &log, Destroyed}, &log};
  EXPECT_EQ(ds_engine_add_grad_hook(toy.engine, &later.known), DS_ERR_UNSUPPORTED);
  EXPECT_EQ(log.destroyed, 3);
}

// What was written in place stays written: on every rank alike, so that none waits for a reduction.
TEST(HookC, ASkipOfAGradientInPlaceIsAnErrorAfterWhichTheEngineGoesOn) {
  const auto run = [](ds_comm* comm, void*) -> ds_status {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.comm = comm;
    options.config_json = R"({"zero_optimization": {"stage": 2}})";
    ds_engine* engine = nullptr;
    EXPECT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
    int32_t rank = -1;
    EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
    const int64_t numel = 4;
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = "w";
    desc.shape = &numel;
    desc.ndim = 1;
    ds_param* w = nullptr;
    EXPECT_EQ(ds_param_register(engine, &desc, &w), DS_OK);
    ds_grad_hook hook = DS_GRAD_HOOK_INIT;
    int32_t answer = rank == 1 ? DS_HOOK_SKIP : DS_HOOK_CONTINUE;  // one rank alone skips
    hook.user_data = &answer;
    hook.fn = [](const ds_grad_event*, void* data) { return *static_cast<int32_t*>(data); };
    EXPECT_EQ(ds_engine_add_grad_hook(engine, &hook), DS_OK);
    for (int step = 0; step < 2; ++step) {
      ds_grad_view view = DS_GRAD_VIEW_INIT;
      EXPECT_EQ(ds_param_begin_grad(w, &view), DS_OK) << ds_error_peek_message();
      EXPECT_EQ(view.accumulate, 0);
      for (int i = 0; i < 4; ++i) static_cast<float*>(view.grad.data)[i] = 1.0f;
      EXPECT_EQ(ds_param_end_grad(w), rank == 1 ? DS_ERR_UNSUPPORTED : DS_OK);
      if (rank == 1) {
        EXPECT_EQ(TakeMessage(),
                  "w: a hook skips a gradient that was written in place; it counts all the same");
      }
      ds_step_info info = DS_STEP_INFO_INIT;
      EXPECT_EQ(ds_engine_step(engine, &info), DS_OK) << ds_error_peek_message();
      EXPECT_EQ(info.grad_norm, 2.0);
    }
    ds_engine_destroy(engine);
    return DS_OK;
  };
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 20;
  EXPECT_EQ(ds_comm_run_threads(2, &options, run, nullptr), DS_OK) << ds_error_peek_message();
}

TEST(CommC, HandlesAreDestroyedInAnyOrder) {
  for (const bool comm_first : {true, false}) {
    ds_comm* comm = nullptr;
    ASSERT_EQ(ds_comm_create_self(nullptr, &comm), DS_OK);
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.comm = comm;
    ds_engine* engine = nullptr;
    ASSERT_EQ(ds_engine_create(&options, &engine), DS_OK);
    if (comm_first) ds_comm_destroy(comm);
    EXPECT_EQ(ds_engine_seal(engine), DS_OK);
    ds_engine_destroy(engine);
    if (!comm_first) ds_comm_destroy(comm);
  }
}

TEST(CommC, ThreadsOfTheCallersOwnAreRanks) {
  ds_comm* comms[3] = {};
  ASSERT_EQ(ds_comm_create_threads(3, nullptr, comms), DS_OK);
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      double values[2] = {1.0, static_cast<double>(r)};
      EXPECT_EQ(ds_comm_all_reduce(comms[r], values, 2), DS_OK);
      EXPECT_EQ(values[0], 3.0);
      EXPECT_EQ(values[1], 3.0);
      EXPECT_EQ(ds_comm_barrier(comms[r]), DS_OK);
      ds_comm_destroy(comms[r]);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(CommC, TheFirstFailureNamesItsRank) {
  const auto fail = [](ds_comm* comm, void*) -> ds_status {
    int32_t rank = -1;
    if (ds_comm_get_rank(comm, &rank) != DS_OK) return DS_ERR_INTERNAL;
    if (rank != 1) return ds_comm_barrier(comm);
    ds_error_set(DS_ERR_IO, "no such file");
    return DS_ERR_IO;
  };
  EXPECT_EQ(ds_comm_run_threads(3, nullptr, fail, nullptr), DS_ERR_IO);
  EXPECT_EQ(TakeMessage(), "rank 1: no such file");
  const auto silent = [](ds_comm*, void*) -> ds_status { return DS_ERR_TIMEOUT; };
  EXPECT_EQ(ds_comm_run_threads(1, nullptr, silent, nullptr), DS_ERR_TIMEOUT);
  EXPECT_EQ(TakeMessage(), "the rank function returned 103 (timeout)");
}

TEST(BaseC, ErrorsAreMovedOutOfTheThread) {
  ds_engine* engine = nullptr;
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.config_json = R"({"zero_optimization": {"stage": 7}})";
  EXPECT_EQ(ds_engine_create(&options, &engine), DS_ERR_CONFIG);
  EXPECT_EQ(engine, nullptr);
  std::thread([] { EXPECT_EQ(ds_error_take(), nullptr) << "another thread's error"; }).join();
  EXPECT_STREQ(ds_error_peek_message(), "config: zero_optimization.stage is 7, not 0, 1, 2 or 3");
  ds_error* error = ds_error_take();
  EXPECT_EQ(ds_error_get_status(error), DS_ERR_CONFIG);
  EXPECT_EQ(ds_status_get_scope(ds_error_get_status(error)), DS_SCOPE_CALL);
  ds_error_destroy(error);
  EXPECT_EQ(ds_error_take(), nullptr);
}

TEST(BaseC, TheLogGoesToTheSink) {
  static std::string text;
  ds_log_sink sink = DS_LOG_SINK_INIT;
  sink.level = DS_LOG_INFO;
  sink.fn = [](ds_log_level, const char* component, const char* message, void*) {
    text += std::string(component) + ": " + message;
  };
  ASSERT_EQ(ds_log_set_sink(&sink), DS_OK);
  Toy toy(R"({"steps_per_print": 1})");
  ASSERT_EQ(toy.AddGrad(1.0f), DS_OK);
  ASSERT_EQ(ds_engine_step(toy.engine, nullptr), DS_OK);
  EXPECT_EQ(text, "engine: step=1, skipped=0, lr=0.001, grad_norm=2");
  sink = DS_LOG_SINK_INIT;
  ASSERT_EQ(ds_log_set_sink(&sink), DS_OK);
}

TEST(BaseC, BuildInfoAndConfigAreJson) {
  EXPECT_EQ(ds_version(), 100u);
  EXPECT_EQ(ds_build_info()[0], '{');
  EXPECT_NE(std::strstr(ds_build_info(), "instruction_set"), nullptr);
  Toy toy;
  ds_buffer buffer = DS_BUFFER_INIT;
  ASSERT_EQ(ds_engine_get_config(toy.engine, &buffer), DS_OK);
  EXPECT_EQ(std::strlen(buffer.data), buffer.size);
  EXPECT_NE(std::strstr(buffer.data, "zero_optimization"), nullptr);
  ds_buffer_dispose(&buffer);
  EXPECT_EQ(buffer.data, nullptr);
  ds_buffer_dispose(&buffer);
}

}  // namespace
