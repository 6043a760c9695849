// What a rank does together with its peers, and what they hear when it cannot.
#pragma once

#include "base/status.h"
#include "capi/guard.h"
#include "comm/communicator.h"

namespace ds::capi {

inline Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}
// Does what the peers of a group do too, and tells them what goes wrong midway. An error that all
// ranks see is no news to them, and a refusal leaves the group as it was.
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

}  // namespace ds::capi
