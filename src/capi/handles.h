// What stands behind the opaque handles. Children hold what they need, so handles may be destroyed
// in any order.
#pragma once

#include <deepspeed/deepspeed.h>

#include <deque>
#include <memory>

#include "base/task_pool.h"
#include "comm/communicator.h"
#include "engine/engine.h"

namespace ds::capi {

struct Membership {
  std::shared_ptr<TaskPool> pool;  // shared by the ranks of the group
  std::shared_ptr<comm::Communicator> comm;
};

Result<std::shared_ptr<Membership>> CreateSelfMembership(const ds_comm_options* options);

}  // namespace ds::capi

struct ds_comm {
  std::shared_ptr<ds::capi::Membership> membership;
};

struct ds_param {
  ds_engine* engine;
  ds::ParamId id;
};

struct ds_engine {
  std::shared_ptr<ds::capi::Membership> membership;
  std::unique_ptr<ds::Engine> engine;  // uses the membership
  std::deque<ds_param> params;         // addresses stay
  bool in_hook = false;                // the caller's code runs; calls back are refused

  ds::zero::ShardedStore& store() { return engine->store(); }
};

namespace ds::capi {

// A call that a hook may not make.
inline Status RefuseInHook(const ds_engine* engine) {
  if (!engine->in_hook) return {};
  return InvalidState("called from inside a gradient hook of the same engine");
}

}  // namespace ds::capi
