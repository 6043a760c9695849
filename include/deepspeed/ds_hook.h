/**
 * @file ds_hook.h
 * Hooks: the caller's code, run when a gradient is handed over, and before a step.
 *
 * A hook runs on the caller's own thread, inside ds_param_add_grad(), ds_param_end_grad() or
 * ds_model_forward_backward(), after the gradient is complete for this micro-batch and before it is
 * reduced over the ranks. It may
 * call ds_error_set(), and the getters of ds_param.h; no other call on the same engine.
 */
#ifndef DEEPSPEED_DS_HOOK_H
#define DEEPSPEED_DS_HOOK_H

#include "ds_param.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a hook answers. 0 and any other value mean that the hook failed: the call returns
 *  DS_ERR_CALLBACK. (A binding whose callback raised answers 0.) */
typedef enum ds_hook_action {
  DS_HOOK_CONTINUE = 1,
  DS_HOOK_SKIP = 2,  /**< as if this gradient had not been handed over in this micro-batch */
  DS_HOOK_ABORT = 3, /**< the call fails with the error of ds_error_set(), or DS_ERR_CALLBACK */
  DS_HOOK_ACTION_FORCE_INT32 = 0x7FFFFFFF
} ds_hook_action;

/** Valid during the call of the hook. */
typedef struct ds_grad_event {
  size_t struct_size;
  ds_param *param;
  const char *name;
  ds_tensor grad;      /**< this micro-batch's gradient as it was handed over; of
                            ds_param_end_grad(): the buffer, with earlier micro-batches in it. Read
                            it, do not write it */
  int64_t micro_step;  /**< within the accumulation window, from 0 */
  int64_t global_step; /**< optimizer steps applied so far */
} ds_grad_event;

/** Returns a ds_hook_action. */
typedef int32_t (*ds_grad_fn)(const ds_grad_event *event, void *user_data);

typedef struct ds_grad_hook {
  size_t struct_size;
  ds_grad_fn fn;
  void *user_data;
  void (*destroy)(void *user_data); /**< NULL, or called exactly once after the last call of fn,
                                         also when adding the hook fails (but for a struct_size
                                         that no version has) */
} ds_grad_hook;
#define DS_GRAD_HOOK_INIT \
  { sizeof(ds_grad_hook), NULL, NULL, NULL }

/** Adds a hook; hooks run in the order in which they were added, for every parameter. A hook that
 *  answers SKIP or ABORT, or fails, ends the chain. ds_param_end_grad() cannot take back what was
 *  written in place: SKIP is there as CONTINUE, and the call then returns DS_ERR_UNSUPPORTED; do
 *  not call it again. After ABORT or a failure the gradient is still open there: it can.
 *  thread: driver; collective: no; blocking: no; keeps: hook.user_data -> hook.destroy. */
DS_API DS_NODISCARD ds_status ds_engine_add_grad_hook(ds_engine *engine, const ds_grad_hook *hook);

struct ds_step_info; /* ds_engine.h */

/** What ds_engine_step() has done and is about to do; valid during the call of the hook. `applied`
 *  is 0; with `skipped` 1 the gradient is not finite, and no answer changes that nothing is
 * applied. Returns a ds_hook_action. */
typedef int32_t (*ds_step_fn)(const struct ds_step_info *info, void *user_data);

typedef struct ds_step_hook {
  size_t struct_size;
  ds_step_fn fn;
  void *user_data;
  void (*destroy)(void *user_data); /**< as in ds_grad_hook */
} ds_step_hook;
#define DS_STEP_HOOK_INIT \
  { sizeof(ds_step_hook), NULL, NULL, NULL }

/** Adds a hook that ds_engine_step() calls where it would update the weights, when the norm is
 *  known and nothing is changed yet. A rank may have hooks that others lack: what any of them
 *  answers holds for all. CONTINUE: the weights are updated. SKIP: they stay, and the gradients are
 *  dropped. ABORT or a failure: so as well, and ds_engine_step() returns the error on every rank
 *  (DS_ERR_CALLBACK with the rank, on the others). The engine can be used on.
 *  thread: driver; collective: no; blocking: no; keeps: hook.user_data -> hook.destroy. */
DS_API DS_NODISCARD ds_status ds_engine_add_step_hook(ds_engine *engine, const ds_step_hook *hook);

#ifdef __cplusplus
}
#endif
#endif
