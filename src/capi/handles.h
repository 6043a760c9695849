// What stands behind the opaque handles. Children hold what they need, so handles may be destroyed
// in any order.
#pragma once

#include <deepspeed/deepspeed.h>

#include <deque>
#include <memory>
#include <vector>

#include "base/task_pool.h"
#include "capi/guard.h"
#include "capi/ticket_queue.h"
#include "capi/together.h"
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
  explicit ds_comm(std::shared_ptr<ds::capi::Membership> of)
      : membership(std::move(of)), queue(*membership->comm) {}
  std::shared_ptr<ds::capi::Membership> membership;
  ds::capi::TicketQueue queue;  // uses the membership
};

// Belongs to its engine, dies with it.
struct ds_param : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_param";
  ds_param(ds_engine* engine, ds::ParamId id) : engine(engine), id(id) { kind = kKind; }
  ~ds_param() { kind = nullptr; }
  ds_engine* engine;
  ds::ParamId id;
  const ds::ParamSpec* spec = nullptr;  // of the store's, which stays where it is
};

struct ds_engine : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_engine";
  std::shared_ptr<ds::capi::Membership> membership;
  // The same ranks again: the caller's own collectives may be under way while the engine's are.
  std::unique_ptr<ds::comm::Communicator> comm;
  std::unique_ptr<ds::Engine> engine;  // uses the two
  // Addresses stay. Kept by the graveyard when the engine ends, for who still holds one.
  std::shared_ptr<std::deque<ds_param>> params = std::make_shared<std::deque<ds_param>>();
  std::vector<ds_model*> models;  // that compute with its parameters
  bool in_hook = false;           // the caller's code runs; calls back are refused
  bool reads = false;  // a model has read weights that it left gathered, outside of any step

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
