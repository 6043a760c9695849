#include <deepspeed/ds_hook.h>

#include <memory>

#include "capi/guard.h"
#include "capi/handles.h"

using ds::Code;
using ds::Result;
using ds::Status;
using ds::capi::Guard;
using ds::zero::GradArrival;
using ds::zero::GradVerdict;

namespace {

// The caller's hook as the store calls it; destroyed with the last copy.
class HookCall {
 public:
  HookCall(ds_engine* engine, const ds_grad_hook& hook, std::shared_ptr<void> owner)
      : engine_(engine), fn_(hook.fn), owner_(std::move(owner)) {}

  Result<GradVerdict> operator()(const GradArrival& arrival) const {
    ds_param* param = &(*engine_->params)[arrival.id];
    const ds_grad_event event = {
        sizeof(ds_grad_event),
        param,
        arrival.spec.name.c_str(),
        {const_cast<void*>(arrival.data),
         arrival.spec.shape.empty() ? nullptr : arrival.spec.shape.data(), arrival.spec.numel(),
         static_cast<ds_dtype>(arrival.dtype), static_cast<int32_t>(arrival.spec.shape.size())},
        arrival.micro_step,
        engine_->engine->step()};
    (void)ds::capi::TakeThreadError();
    DS_ASSIGN(const int32_t action, Call(event));
    const Status said = ds::capi::TakeThreadError();
    switch (action) {
      case DS_HOOK_CONTINUE:
        return GradVerdict::kContinue;
      case DS_HOOK_SKIP:
        return GradVerdict::kSkip;
      case DS_HOOK_ABORT:
        if (!said.ok()) return said;
        return ds::Error(Code::kCallback, "{}: a gradient hook aborted", arrival.spec.name);
      default:
        return ds::Error(Code::kCallback, "{}: a gradient hook failed (answered {})",
                         arrival.spec.name, action);
    }
  }

 private:
  // The function of a C++ caller may throw: its own failure, not one of the engine.
  Result<int32_t> Call(const ds_grad_event& event) const {
    struct InHook {
      explicit InHook(ds_engine* engine) : engine(engine) { engine->in_hook = true; }
      ~InHook() { engine->in_hook = false; }
      ds_engine* engine;
    } const in_hook(engine_);
    try {
      DS_FAILPOINT("hook");
      return fn_(&event, owner_.get());
    } catch (...) {
      return ds::capi::StatusOfException();
    }
  }

  ds_engine* engine_;
  ds_grad_fn fn_;
  std::shared_ptr<void> owner_;
};

}  // namespace

extern "C" {

ds_status ds_engine_add_grad_hook(ds_engine* engine, const ds_grad_hook* hook) {
  return Guard([&]() -> Status {
    DS_REQUIRE(hook);
    ds_grad_hook known = DS_GRAD_HOOK_INIT;
    DS_TRY(ds::capi::ReadStruct("hook", hook, known));
    const std::shared_ptr<void> owner(known.user_data, [destroy = known.destroy](void* data) {
      if (destroy != nullptr) destroy(data);
    });
    DS_REQUIRE(engine);
    DS_TRY(ds::capi::RefuseInHook(engine));
    if (known.fn == nullptr) return ds::InvalidArgument("hook.fn is NULL");
    engine->store().AddGradHook(HookCall(engine, known, owner));
    return {};
  });
}

}  // extern "C"
