// What stands behind the opaque handles. Children hold what they need, so handles may be destroyed
// in any order.
#pragma once

#include <deepspeed/deepspeed.h>

#include <deque>
#include <memory>

#include "base/task_pool.h"
#include "capi/guard.h"
#include "comm/communicator.h"
#include "engine/engine.h"

namespace ds::capi {

struct Membership {
  std::shared_ptr<TaskPool> pool;  // shared by the ranks of the group
  std::shared_ptr<comm::Communicator> comm;
};

Result<std::shared_ptr<Membership>> CreateSelfMembership(const ds_comm_options* options);

}  // namespace ds::capi

struct ds_comm : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_comm";
  std::shared_ptr<ds::capi::Membership> membership;
};

// Belongs to its engine, dies with it.
struct ds_param : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_param";
  ds_param(ds_engine* engine, ds::ParamId id) : engine(engine), id(id) { kind = kKind; }
  ~ds_param() { kind = nullptr; }
  ds_engine* engine;
  ds::ParamId id;
};

struct ds_engine : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_engine";
  std::shared_ptr<ds::capi::Membership> membership;
  std::unique_ptr<ds::Engine> engine;  // uses the membership
  // Addresses stay. Kept by the graveyard when the engine ends, for who still holds one.
  std::shared_ptr<std::deque<ds_param>> params = std::make_shared<std::deque<ds_param>>();
  bool in_hook = false;  // the caller's code runs; calls back are refused

  ds::zero::ShardedStore& store() { return engine->store(); }
};

namespace ds::capi {

// Does what the peers do too. What is thrown midway loses the engine, and the peers are told: they
// would wait for a rank that will not come.
template <typename Body>
auto Together(ds_engine* engine, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    const Status why = StatusOfException();
    engine->store().Fail(why);
    return why;
  }
}

inline Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}
// The same without an engine. An error that all ranks see is no news to them, and a refusal leaves
// the group as it was.
template <typename Body>
auto Together(comm::Communicator& comm, Body&& body) -> decltype(body()) {
  Status why;
  try {
    auto result = body();
    why = StatusOf(result);
    if (ds_status_get_scope(static_cast<ds_status>(why.code())) <= DS_SCOPE_CALL) return result;
  } catch (...) {
    why = StatusOfException();
  }
  comm.Abort(why);
  return why;
}

// As its callers see a step.
inline ds_step_info StepInfoOf(const StepInfo& step) {
  return {sizeof(ds_step_info), step.applied, step.skipped,     step.step,
          step.grad_norm,       step.lr,      step.clip_factor, step.loss_scale};
}

// A call that a hook may not make.
inline Status RefuseInHook(const ds_engine* engine) {
  if (!engine->in_hook) return {};
  return InvalidState("called from inside a hook of the same engine");
}

}  // namespace ds::capi
