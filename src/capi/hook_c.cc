#include <deepspeed/ds_hook.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/user_code.h"

using ds::Result;
using ds::Status;
using ds::StepVerdict;
using ds::capi::Guard;
using ds::zero::GradArrival;
using ds::zero::GradVerdict;

namespace {

// The caller's function and data, kept alive with the last copy.
class UserHook {
 public:
  template <typename Hook>
  UserHook(ds_engine* engine, const Hook& hook)
      : engine_(engine), owner_(hook.user_data, [destroy = hook.destroy](void* data) {
          if (destroy != nullptr) destroy(data);
        }) {}

  // The action that `fn` answers. `what` names the hook in errors.
  template <typename Fn, typename Event>
  Result<int32_t> Ask(Fn fn, const Event& event, std::string_view what) const {
    return ds::capi::AskUser(engine_->in_hook, what, [&] { return fn(&event, owner_.get()); });
  }

 private:
  ds_engine* engine_;
  std::shared_ptr<void> owner_;
};

// Checks a hook struct and adds what `add` makes of it. Its user_data is destroyed in any case.
template <typename Hook, typename Add>
Status AddHook(ds_engine* engine, const Hook* hook, Hook known, const Add& add) {
  DS_REQUIRE(hook);
  // Where even its first fields may be elsewhere there is nothing that could be destroyed.
  size_t size = 0;
  std::memcpy(&size, hook, sizeof size);
  DS_TRY(ds::capi::CheckSize<Hook>("hook", size));
  std::memcpy(&known, hook, std::min(size, sizeof known));
  const UserHook user(engine, known);
  DS_TRY(ds::capi::ReadStruct("hook", hook, known));
  DS_REQUIRE(engine);
  DS_TRY(ds::capi::RefuseInHook(engine));
  if (known.fn == nullptr) return ds::InvalidArgument("hook.fn is NULL");
  add(user, known.fn);
  return {};
}

Result<GradVerdict> AskGradHook(ds_engine* engine, const UserHook& user, ds_grad_fn fn,
                                const GradArrival& arrival) {
  const auto& shape = arrival.spec.shape;
  const ds_grad_event event = {
      sizeof(ds_grad_event),
      &(*engine->params)[arrival.id],
      arrival.spec.name.c_str(),
      {const_cast<void*>(arrival.data), shape.empty() ? nullptr : shape.data(),
       arrival.spec.numel(), static_cast<ds_dtype>(arrival.dtype),
       static_cast<int32_t>(shape.size())},
      arrival.micro_step,
      engine->engine->step()};
  DS_ASSIGN(const int32_t action,
            user.Ask(fn, event, fmt::format("{}: a gradient hook", arrival.spec.name)));
  return action == DS_HOOK_SKIP ? GradVerdict::kSkip : GradVerdict::kContinue;
}

Result<StepVerdict> AskStepHook(const UserHook& user, ds_step_fn fn, const ds::StepInfo& info) {
  DS_ASSIGN(const int32_t action, user.Ask(fn, ds::capi::StepInfoOf(info),
                                           fmt::format("step {}: a step hook", info.step)));
  return action == DS_HOOK_SKIP ? StepVerdict::kSkip : StepVerdict::kContinue;
}

}  // namespace

extern "C" {

ds_status ds_engine_add_grad_hook(ds_engine* engine, const ds_grad_hook* hook) {
  return Guard([&]() -> Status {
    return AddHook(engine, hook, DS_GRAD_HOOK_INIT, [&](const UserHook& user, ds_grad_fn fn) {
      engine->store().AddGradHook(
          [=](const GradArrival& arrival) { return AskGradHook(engine, user, fn, arrival); });
    });
  });
}

ds_status ds_engine_add_step_hook(ds_engine* engine, const ds_step_hook* hook) {
  return Guard([&]() -> Status {
    return AddHook(engine, hook, DS_STEP_HOOK_INIT, [&](const UserHook& user, ds_step_fn fn) {
      engine->engine->AddStepHook(
          [=](const ds::StepInfo& info) { return AskStepHook(user, fn, info); });
    });
  });
}

}  // extern "C"
