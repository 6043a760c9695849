/**
 * @file ds_optim.h
 * Optimizers, learning-rate schedules and the loss scale, alone on the caller's buffers. They know
 * neither engines nor ranks, and an engine does not need them: it has its own.
 */
#ifndef DEEPSPEED_DS_OPTIM_H
#define DEEPSPEED_DS_OPTIM_H

#include "ds_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The rule of an optimizer with its hyper-parameters, and threads to apply it. Holds no state of
 *  parameters: that is the caller's arrays. */
typedef struct ds_optim ds_optim;

typedef struct ds_optim_options {
  size_t struct_size;
  const char *config_json; /**< {"type": ..., "params": {...}}, as "optimizer" in ds_config.json.
                                Types: Adam, AdamW, Adagrad, SGD, Lion, Lamb, Muon */
  int32_t threads;         /**< CPU threads to use; 0: one a core */
} ds_optim_options;
#define DS_OPTIM_OPTIONS_INIT \
  { sizeof(ds_optim_options), NULL, 0 }

/** An optimizer without state of its own: the arrays are the caller's.
 *  thread: any; collective: no; blocking: no; owns: out_optim -> ds_optim_destroy.
 *  @return DS_ERR_CONFIG: a type or key that is unknown, with the nearest known one, or a value out
 *          of range, by name. */
DS_API DS_NODISCARD ds_status ds_optim_create(const ds_optim_options *options,
                                              ds_optim **out_optim);
/** thread: driver; collective: no; blocking: no; takes: optim. */
DS_API void ds_optim_destroy(ds_optim *optim);

/** The learning rate of the config. `is_matrix` as in the two calls below.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_optim_get_lr(const ds_optim *optim, int32_t is_matrix,
                                              double *out_lr);
/** How many fp32 state arrays, each as long as the parameter, a step needs: 0 to 2. They are zero
 *  before the first step. `is_matrix`: 1 for parameters that are stepped with rows and columns,
 *  which differ for Muon alone: its other parameters go by AdamW.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_optim_get_state_count(const ds_optim *optim, int32_t is_matrix,
                                                       int32_t *out_count);
/** The name of state array `index` as in DeepSpeed's and torch's checkpoints: "exp_avg",
 *  "exp_avg_sq", "momentum_buffer", "sum".
 *  thread: any; collective: no; blocking: no; borrows: out_name from static.
 *  @return DS_ERR_INVALID_ARGUMENT: no such array. */
DS_API DS_NODISCARD ds_status ds_optim_get_state_name(const ds_optim *optim, int32_t is_matrix,
                                                      int32_t index, const char **out_name);

/** The elements that a step updates. For Lamb and for a matrix of Muon they are a whole parameter;
 *  for all others any cut of one gives the same bits. Arrays do not overlap. */
typedef struct ds_optim_span {
  size_t struct_size;
  float *params;        /**< `numel` weights, updated */
  const void *grads;    /**< `numel` gradients of `grad_dtype` */
  float *const *states; /**< ds_optim_get_state_count() arrays of `numel`, updated */
  int64_t numel;
  ds_dtype grad_dtype; /**< 0: DS_DTYPE_F32 */
  int32_t no_decay;    /**< 1: weight decay does not apply */
  void *bf16_params;   /**< NULL, or `numel` bf16 that receive the rounded weights */
  int64_t rows;    /**< with `columns` of Muon's matrices: row-major, numel / (rows * columns) */
  int64_t columns; /**< of them, each orthogonalised by itself. 0 and 0: not a matrix */
} ds_optim_span;
#define DS_OPTIM_SPAN_INIT \
  { sizeof(ds_optim_span), NULL, NULL, NULL, 0, (ds_dtype)0, 0, NULL, 0, 0 }

/** One update. `step` counts the updates of this parameter from 1; `lr` is the learning rate (see
 *  ds_optim_get_lr() and ds_lr_schedule_get_lr()); gradients are first multiplied by `grad_scale`,
 *  which unscales and clips in one (ds_clip_get_factor()). The same bits on any number of threads.
 *  thread: driver; collective: no; blocking: yes.
 *  @return DS_ERR_INVALID_ARGUMENT: a missing array, a number out of range, or a gradient of a Muon
 *          matrix that is not finite (then nothing is changed; the other rules let it through). */
DS_API DS_NODISCARD ds_status ds_optim_step(ds_optim *optim, const ds_optim_span *span,
                                            int64_t step, double lr, double grad_scale);
/** Betas, each in [0, 1), of the steps from now on, in place of the config's: for schedules that
 *  cycle the momentum. Rules without betas ignore them.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_optim_set_betas(ds_optim *optim, double beta1, double beta2);

/** The sum of the squares of values[0..numel), added in double in a fixed order: the same bits on
 *  any number of threads. `optim` lends its threads; NULL: the calling one alone.
 *  thread: driver; collective: no; blocking: yes; null: optim. */
DS_API DS_NODISCARD ds_status ds_optim_get_sum_of_squares(ds_optim *optim, ds_dtype dtype,
                                                          const void *values, int64_t numel,
                                                          double *out_sum);
/** Its root.
 *  thread: driver; collective: no; blocking: yes; null: optim. */
DS_API DS_NODISCARD ds_status ds_optim_get_norm(ds_optim *optim, ds_dtype dtype, const void *values,
                                                int64_t numel, double *out_norm);
/** What gradients are multiplied by, to undo `loss_scale` and to clip them to `max_norm`: 1 /
 *  (loss_scale * max(1, (norm / loss_scale + 1e-6) / max_norm)). `norm` is that of the gradients as
 *  they are. max_norm 0: no clipping.
 *  thread: any; collective: no; blocking: no.
 *  @return DS_ERR_INVALID_ARGUMENT: a norm that is not finite (skip the step), or a scale of 0. */
DS_API DS_NODISCARD ds_status ds_clip_get_factor(double norm, double max_norm, double loss_scale,
                                                 double *out_factor);

/** A learning-rate schedule: a function of the step, without state. */
typedef struct ds_lr_schedule ds_lr_schedule;

/** `config_json` is {"type": ..., "params": {...}}, as "scheduler" in ds_config.json. Types:
 *  WarmupLR, WarmupDecayLR, WarmupCosineLR, OneCycle, LRRangeTest. `base_lr` is the optimizer's, to
 * which WarmupLR rises where it has no warmup_max_lr. thread: any; collective: no; blocking: no;
 * owns: out_schedule -> ds_lr_schedule_destroy.
 *  @return DS_ERR_CONFIG: as ds_optim_create(). */
DS_API DS_NODISCARD ds_status ds_lr_schedule_create(const char *config_json, double base_lr,
                                                    ds_lr_schedule **out_schedule);
/** thread: driver; collective: no; blocking: no; takes: schedule. */
DS_API void ds_lr_schedule_destroy(ds_lr_schedule *schedule);
/** The learning rate of the update after `applied` (>= 0) updates; skipped ones do not count.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_lr_schedule_get_lr(const ds_lr_schedule *schedule, int64_t applied,
                                                    double *out_lr);
/** The betas then, for ds_optim_set_betas(); out_cycles 0: this schedule leaves them alone, and 0
 *  is written to both.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_lr_schedule_get_betas(const ds_lr_schedule *schedule,
                                                       int64_t applied, int32_t *out_cycles,
                                                       double *out_beta1, double *out_beta2);

/** What the loss is multiplied by, so that 16-bit gradients neither vanish nor overflow. */
typedef struct ds_loss_scaler ds_loss_scaler;

typedef struct ds_loss_scaler_options {
  size_t struct_size;
  int32_t is_static;              /**< 1: the scale stays `init_scale` */
  int32_t consecutive_hysteresis; /**< 1: every step without overflow refills the hysteresis */
  int32_t stays_at_min;           /**< 1: an overflow at `min_scale` is no error */
  double init_scale;              /**< 0: 65536 */
  double factor;                  /**< it grows and sinks by this; 0: 2 */
  double min_scale;               /**< 0: 1 */
  int64_t window;                 /**< steps without overflow until it grows; 0: 1000 */
  int64_t hysteresis;             /**< the overflow that makes it sink; 0: 2, the second */
} ds_loss_scaler_options;
#define DS_LOSS_SCALER_OPTIONS_INIT \
  { sizeof(ds_loss_scaler_options), 0, 0, 0, 0.0, 0.0, 0.0, 0, 0 }

/** A scale at its first value.
 *  thread: any; collective: no; blocking: no; null: options;
 *  owns: out_scaler -> ds_loss_scaler_destroy.
 *  @return DS_ERR_INVALID_ARGUMENT: a number out of range. */
DS_API DS_NODISCARD ds_status ds_loss_scaler_create(const ds_loss_scaler_options *options,
                                                    ds_loss_scaler **out_scaler);
/** thread: driver; collective: no; blocking: no; takes: scaler. */
DS_API void ds_loss_scaler_destroy(ds_loss_scaler *scaler);
/** What the next loss is multiplied by.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_loss_scaler_get_scale(const ds_loss_scaler *scaler,
                                                       double *out_scale);
/** After each step: whether its gradients overflowed (it was then skipped).
 *  thread: driver; collective: no; blocking: no.
 *  @return DS_ERR_INVALID_STATE: an overflow at the least scale; nothing is changed. */
DS_API DS_NODISCARD ds_status ds_loss_scaler_update(ds_loss_scaler *scaler, int32_t overflowed);

/** What a resume needs beside the options. */
typedef struct ds_loss_scaler_state {
  size_t struct_size;
  double scale;
  int64_t hysteresis;    /**< left */
  int64_t iteration;     /**< updates so far */
  int64_t last_overflow; /**< the iteration of it; -1 before any */
} ds_loss_scaler_state;
#define DS_LOSS_SCALER_STATE_INIT \
  { sizeof(ds_loss_scaler_state), 0.0, 0, 0, 0 }

/** For a checkpoint.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_loss_scaler_get_state(const ds_loss_scaler *scaler,
                                                       ds_loss_scaler_state *out_state);
/** From a checkpoint.
 *  thread: driver; collective: no; blocking: no.
 *  @return DS_ERR_INVALID_ARGUMENT: a state that these options cannot reach. */
DS_API DS_NODISCARD ds_status ds_loss_scaler_set_state(ds_loss_scaler *scaler,
                                                       const ds_loss_scaler_state *state);

#ifdef __cplusplus
}
#endif
#endif
