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

/** An engine without parameters. Compares the configuration over the ranks. The defaults are those
 *  of ds_config_defaults(); one of them clips gradients at norm 1.
 *  thread: any; collective: yes; blocking: yes; null: options; keeps: options.comm;
 *  owns: out_engine -> ds_engine_destroy.
 *  @return DS_ERR_CONFIG: a key that is unknown, contradictory or not supported, by name. */
DS_API DS_NODISCARD ds_status ds_engine_create(const ds_engine_options *options,
                                               ds_engine **out_engine);
/** Frees the engine, its parameters and its hooks. Peers that wait for this rank get
 *  DS_ERR_RANK_LOST.
 *  thread: driver; collective: no; blocking: yes; takes: engine. */
DS_API void ds_engine_destroy(ds_engine *engine);

/** Adds a parameter group: `params_json` is an object whose keys take the place of those in
 *  optimizer.params of the config ({"lr": 1e-4, "weight_decay": 0}). A schedule holds for all
 *  groups: what it gives as a ratio is of the group's own lr, to which WarmupLR without
 *  warmup_max_lr rises, too. Groups are the same, in the same
 *  order, on every rank, and are added before registration ends.
 *  thread: driver; collective: no; blocking: no.
 *  @return DS_ERR_CONFIG: names the key; DS_ERR_INVALID_STATE: registration has ended. */
DS_API DS_NODISCARD ds_status ds_engine_add_group(ds_engine *engine, const char *params_json,
                                                  int32_t *out_group);

/** Ends registration, compares it over the ranks and places the state. Optional: the first acquire
 *  or gradient does it.
 *  thread: driver; collective: yes; blocking: yes.
 *  @return DS_ERR_RANK_MISMATCH: names the first parameter, or setting of a model, that differs,
 *          and both versions. */
DS_API DS_NODISCARD ds_status ds_engine_seal(ds_engine *engine);

/** What ds_engine_step() did. */
typedef struct ds_step_info {
  size_t struct_size;
  int32_t applied; /**< 1: the weights were updated */
  int32_t skipped; /**< 1: the gradient was not finite, or a step hook said so: no weight changed */
  int64_t step;    /**< optimizer steps applied so far */
  double grad_norm;   /**< over all ranks, before clipping; 0 inside an accumulation window */
  double lr;          /**< learning rate of this step; 0 inside an accumulation window */
  double clip_factor; /**< what the gradients were multiplied by to clip them; 1: not clipped */
  double loss_scale;  /**< that the gradients of this step came with; 1 unless fp16 */
} ds_step_info;
#define DS_STEP_INFO_INIT \
  { sizeof(ds_step_info), 0, 0, 0, 0.0, 0.0, 0.0, 0.0 }

/** Ends a micro-batch. Every gradient_accumulation_steps-th call reduces, clips, updates the
 *  weights and advances the schedule; the others only count. A gradient that did not come is 0, or
 *  refused where zero_optimization.ignore_unused_parameters is false; momentum and weight decay
 *  move its weights all the same. The caller sets the struct_size of `out_info`.
 *  A refusal (DS_SCOPE_CALL, e.g. a parameter that is still acquired) changes nothing. A step hook
 *  that aborts, and an overflow at the least loss scale (DS_ERR_INVALID_STATE), end the window on
 *  every rank without a step: its gradients are dropped, and the engine goes on. Any other failure
 *  loses the engine: each later call returns it.
 *  thread: driver; collective: yes; blocking: yes; null: out_info. */
DS_API DS_NODISCARD ds_status ds_engine_step(ds_engine *engine, ds_step_info *out_info);

/** What the loss, and so every gradient of this step, is to be multiplied by before it is handed
 *  over; 1 unless fp16.enabled (Micikevicius et al. 2018, section 3.2). It changes in
 *  ds_engine_step() alone, alike on all ranks.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_engine_get_loss_scale(ds_engine *engine, double *out_scale);

/** What the steps of this rank did and cost since the engine was made. */
typedef struct ds_engine_stats {
  size_t struct_size;
  int64_t steps;         /**< applied */
  int64_t skipped;       /**< overflows, and steps that a hook skipped */
  double loss_scale;     /**< of the next step */
  double grad_norm;      /**< of the last one, before clipping */
  double gather_seconds; /**< the driver thread waited for gathered weights */
  double reduce_seconds; /**< ... for gradients to be reduced */
  double norm_seconds;   /**< norm of the gradients */
  double update_seconds; /**< the optimizer, and spreading what it changed */
  int64_t all_gather_calls;
  int64_t all_gather_bytes; /**< that this rank handed over in them */
  int64_t reduce_scatter_calls;
  int64_t reduce_scatter_bytes;
  int64_t all_reduce_calls;
  int64_t all_reduce_bytes;
} ds_engine_stats;
#define DS_ENGINE_STATS_INIT \
  { sizeof(ds_engine_stats), 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0 }

/** Also after a failure.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_engine_get_stats(ds_engine *engine, ds_engine_stats *out_stats);

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

/** Also after a failure.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_engine_get_memory(ds_engine *engine, ds_memory_info *out_info);
/** The resolved configuration as ds_config.json text. Also after a failure.
 *  thread: driver; collective: no; blocking: no; owns: out_json -> ds_buffer_dispose. */
DS_API DS_NODISCARD ds_status ds_engine_get_config(ds_engine *engine, ds_buffer *out_json);

#ifdef __cplusplus
}
#endif
#endif
