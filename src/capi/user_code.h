// Code of the caller's that is called from inside a call of his: what it answers, throws and says.
#pragma once

#include <deepspeed/ds_hook.h>

#include <string_view>

#include "base/failpoint.h"
#include "capi/guard.h"

namespace ds::capi {

// Runs `code`, during which `running` is true. The function of a C++ caller may throw: its own
// failure, not one of ours.
template <typename UserCode>
Result<int32_t> RunUserCode(bool& running, UserCode&& code) {
  struct Running {
    explicit Running(bool& flag) : flag(flag) { flag = true; }
    ~Running() { flag = false; }
    bool& flag;
  } const while_it_runs(running);
  try {
    DS_FAILPOINT("hook");
    return code();
  } catch (...) {
    return StatusOfException();
  }
}

// What it answers, when that is one of the two ways to go on. `what` names the code in errors.
template <typename UserCode>
Result<int32_t> AskUser(bool& running, std::string_view what, UserCode&& code) {
  (void)TakeThreadError();
  DS_ASSIGN(const int32_t action, RunUserCode(running, code));
  const Status said = TakeThreadError();
  if (action == DS_HOOK_CONTINUE || action == DS_HOOK_SKIP) return action;
  if (action != DS_HOOK_ABORT) {
    return Error(Code::kCallback, "{} failed (answered {})", what, action);
  }
  if (!said.ok()) return said;
  return Error(Code::kCallback, "{} aborted", what);
}

}  // namespace ds::capi
