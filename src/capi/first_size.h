// How long each growing struct was in the release that brought it. A caller's struct that is
// shorter was not begun with its _INIT macro.
#pragma once

#include <deepspeed/deepspeed.h>

#include <cstddef>

namespace ds::capi {

// What is new in this release has its first size now. A struct gets a line below when it grows, or
// before: tests/abi/old_client_test.py compares them with the old headers.
template <typename T>
inline constexpr size_t kFirstSize = sizeof(T);

template <>
inline constexpr size_t kFirstSize<ds_log_sink> = 40;
template <>
inline constexpr size_t kFirstSize<ds_comm_options> = 24;
template <>
inline constexpr size_t kFirstSize<ds_engine_options> = 24;
template <>
inline constexpr size_t kFirstSize<ds_step_info> = 48;
template <>
inline constexpr size_t kFirstSize<ds_memory_info> = 56;
template <>
inline constexpr size_t kFirstSize<ds_grad_hook> = 32;
template <>
inline constexpr size_t kFirstSize<ds_param_desc> = 48;
template <>
inline constexpr size_t kFirstSize<ds_model_options> = 56;
template <>
inline constexpr size_t kFirstSize<ds_model_open_options> = 24;
template <>
inline constexpr size_t kFirstSize<ds_optim_options> = 24;
template <>
inline constexpr size_t kFirstSize<ds_optim_span> = 72;
template <>
inline constexpr size_t kFirstSize<ds_loss_scaler_options> = 64;
template <>
inline constexpr size_t kFirstSize<ds_loss_scaler_state> = 40;

}  // namespace ds::capi
