#include <deepspeed/ds_engine.h>

#include <memory>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "capi/buffer.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/model_handle.h"

using ds::Status;
using ds::capi::Guard;
using ds::capi::RefuseInHook;
using ds::capi::Together;
using ds::comm::Collective;
using ds::device::MemoryKind;

namespace {

ds::Result<ds::capi::HandleOwner<ds_engine>> CreateOn(
    std::shared_ptr<ds::capi::Membership> membership, const char* config_json) {
  auto handle = ds::capi::MakeHandle<ds_engine>();
  handle->membership = std::move(membership);
  ds::comm::Communicator& comm = *handle->membership->comm;
  DS_ASSIGN(const ds::EngineConfig config, ds::ParseConfig(config_json, comm.size()));
  DS_ASSIGN(handle->comm, comm.Duplicate("engine"));
  DS_ASSIGN(handle->engine, ds::Engine::Create(config, *handle->comm, *handle->membership->pool));
  return handle;
}

}  // namespace

extern "C" {

ds_status ds_engine_create(const ds_engine_options* options, ds_engine** out_engine) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_engine);
    ds_engine_options known = DS_ENGINE_OPTIONS_INIT;
    if (options != nullptr) DS_TRY(ds::capi::ReadStruct("options", options, known));
    std::shared_ptr<ds::capi::Membership> membership;
    if (known.comm != nullptr) {
      if (!ds::capi::IsUsable(known.comm)) return ds::capi::Unusable("options.comm", known.comm);
      membership = known.comm->membership;
      known.comm->queue.Drain();
    } else {
      DS_ASSIGN(membership, ds::capi::CreateSelfMembership(nullptr));
    }
    const char* json = known.config_json == nullptr ? "" : known.config_json;
    DS_ASSIGN(auto engine, Together(*membership->comm, [&] { return CreateOn(membership, json); }));
    *out_engine = engine.release();
    return {};
  });
}

void ds_engine_destroy(ds_engine* engine) {
  if (engine == nullptr) return;
  if (!ds::capi::IsAlive(engine)) return ds::capi::LogUnusable(__func__, engine->kKind);
  if (engine->in_hook) {
    ds::Log(ds::LogLevel::kError, "engine", "destroyed inside its own gradient hook: ignored");
    return;
  }
  ds::capi::EndModels(engine);
  for (ds_param& param : *engine->params) param.kind = nullptr;
  ds::capi::DestroyHandle(engine, engine->params);
}

ds_status ds_engine_seal(ds_engine* engine) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_TRY(RefuseInHook(engine));
    return Together(engine, [&] { return engine->engine->Seal(); });
  });
}

ds_status ds_engine_step(ds_engine* engine, ds_step_info* out_info) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_TRY(RefuseInHook(engine));
    if (out_info != nullptr) DS_TRY(ds::capi::CheckOutput("out_info", out_info));
    DS_ASSIGN(const ds::StepInfo step, Together(engine, [&] { return engine->engine->Step(); }));
    if (out_info == nullptr) return {};
    ds::capi::WriteStruct(ds::capi::StepInfoOf(step), out_info);
    return {};
  });
}

ds_status ds_engine_add_group(ds_engine* engine, const char* params_json, int32_t* out_group) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(params_json);
    DS_REQUIRE(out_group);
    DS_TRY(RefuseInHook(engine));
    // As a parameter: the peers add the same, and compare later.
    DS_ASSIGN(const int group,
              Together(engine, [&] { return engine->engine->AddGroup(params_json); }));
    *out_group = group;
    return {};
  });
}

ds_status ds_engine_get_loss_scale(ds_engine* engine, double* out_scale) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(out_scale);
    *out_scale = engine->engine->loss_scale();
    return {};
  });
}

ds_status ds_engine_get_stats(ds_engine* engine, ds_engine_stats* out_stats) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(out_stats);
    DS_TRY(ds::capi::CheckOutput("out_stats", out_stats));
    const ds::EngineStats stats = engine->engine->stats();
    const ds::comm::Traffic& traffic = engine->engine->traffic();
    const ds_engine_stats known = {sizeof(ds_engine_stats),
                                   stats.steps,
                                   stats.skipped,
                                   stats.loss_scale,
                                   stats.grad_norm,
                                   stats.phases.gather,
                                   stats.phases.reduce,
                                   stats.phases.norm,
                                   stats.phases.update,
                                   traffic.calls(Collective::kAllGather),
                                   traffic.bytes(Collective::kAllGather),
                                   traffic.calls(Collective::kReduceScatter),
                                   traffic.bytes(Collective::kReduceScatter),
                                   traffic.calls(Collective::kAllReduce),
                                   traffic.bytes(Collective::kAllReduce)};
    ds::capi::WriteStruct(known, out_stats);
    return {};
  });
}

ds_status ds_engine_get_memory(ds_engine* engine, ds_memory_info* out_info) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(out_info);
    DS_TRY(ds::capi::CheckOutput("out_info", out_info));
    const auto& memory = engine->engine->memory();
    const ds_memory_info info = {sizeof(ds_memory_info),
                                 memory.bytes(MemoryKind::kWeights),
                                 memory.bytes(MemoryKind::kGradients),
                                 memory.bytes(MemoryKind::kMaster),
                                 memory.bytes(MemoryKind::kMoments),
                                 memory.bytes(MemoryKind::kWindows),
                                 memory.peak()};
    ds::capi::WriteStruct(info, out_info);
    return {};
  });
}

ds_status ds_engine_get_config(ds_engine* engine, ds_buffer* out_json) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(out_json);
    return ds::capi::CopyText(ds::DumpJson(engine->engine->config().ToJson()), out_json);
  });
}

}  // extern "C"
