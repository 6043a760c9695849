/**
 * @file ds_engine.h
 * The training engine: create, register (ds_param.h), seal, then per micro-batch acquire, compute,
 * release, hand over gradients, and step.
 */
#ifndef DEEPSPEED_DS_ENGINE_H
#define DEEPSPEED_DS_ENGINE_H

#include "ds_comm.h"
#include "ds_hook.h"
#include "ds_param.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ds_engine_options {
  size_t struct_size;
  const char *config_json; /**< the text of a ds_config.json; NULL: all defaults */
  ds_comm *comm;           /**< this rank's membership, kept alive; NULL: one rank alone */
} ds_engine_options;
#define DS_ENGINE_OPTIONS_INIT \
  { sizeof(ds_engine_options), NULL, NULL }

/** thread: any; collective: yes.
 *  @return DS_ERR_CONFIG: a key that is unknown, contradictory or not supported, by name. */
DS_API DS_NODISCARD ds_status ds_engine_create(const ds_engine_options *options,
                                               ds_engine **out_engine);
/** Frees the engine, its parameters and its hooks. thread: driver. */
DS_API void ds_engine_destroy(ds_engine *engine);

/** Ends registration, compares it over the ranks and places the state. Optional: the first acquire
 *  or gradient does it. thread: driver; collective: yes.
 *  @return DS_ERR_RANK_MISMATCH: names the first parameter that differs, and both versions. */
DS_API DS_NODISCARD ds_status ds_engine_seal(ds_engine *engine);

/** What ds_engine_step() did. */
typedef struct ds_step_info {
  size_t struct_size;
  int32_t applied;    /**< 1: the weights were updated */
  int32_t skipped;    /**< 1: the gradient norm was not finite, nothing was changed */
  int64_t step;       /**< optimizer steps applied so far */
  double grad_norm;   /**< over all ranks, before clipping; 0 inside an accumulation window */
  double lr;          /**< learning rate of this step; 0 inside an accumulation window */
  double clip_factor; /**< what the gradients were multiplied by to clip them; 1: not clipped */
} ds_step_info;
#define DS_STEP_INFO_INIT \
  { sizeof(ds_step_info), 0, 0, 0, 0.0, 0.0, 0.0 }

/** Ends a micro-batch. Every gradient_accumulation_steps-th call reduces, clips, updates the
 *  weights and advances the schedule; the others only count. `out_info` may be NULL, else its
 *  struct_size is set by the caller. thread: driver; collective: yes.
 *  A failure here loses the engine: each later call returns it (DS_SCOPE_ENGINE or GROUP). */
DS_API DS_NODISCARD ds_status ds_engine_step(ds_engine *engine, ds_step_info *out_info);

/** Bytes that this rank holds, by what they are for. */
typedef struct ds_memory_info {
  size_t struct_size;
  int64_t weights;   /**< in the training dtype */
  int64_t gradients; /**< in the training dtype */
  int64_t master;    /**< fp32 master weights; 0 when the weights are fp32 themselves */
  int64_t moments;   /**< fp32 optimizer moments */
  int64_t windows;   /**< gathered weights, and gradients on their way to reduction */
  int64_t peak;      /**< largest sum so far */
} ds_memory_info;
#define DS_MEMORY_INFO_INIT \
  { sizeof(ds_memory_info), 0, 0, 0, 0, 0, 0 }

/** thread: driver. */
DS_API DS_NODISCARD ds_status ds_engine_get_memory(ds_engine *engine, ds_memory_info *out_info);
/** The resolved configuration as ds_config.json text; the caller disposes it. thread: driver. */
DS_API DS_NODISCARD ds_status ds_engine_get_config(ds_engine *engine, ds_buffer *out_json);

#ifdef __cplusplus
}
#endif
#endif
