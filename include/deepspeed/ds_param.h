/**
 * @file ds_param.h
 * Sharded parameters: registered by name, acquired for compute, given gradients.
 *
 * A parameter belongs to a *unit*: parameters that are gathered, reduced and stepped together. What
 * is kept on which rank follows from `zero_optimization.stage`; the calls are the same at every
 * stage, and so are the bits.
 *
 *     weights   sharded --acquire--> full --release--> sharded       (full always, below stage 3)
 *     gradient  empty --add_grad | begin_grad, end_grad--> local --(unit complete)--> reduced
 *               --ds_engine_step--> empty
 */
#ifndef DEEPSPEED_DS_PARAM_H
#define DEEPSPEED_DS_PARAM_H

#include "ds_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ds_engine ds_engine;

/** A parameter of an engine. Borrowed from the engine: valid until ds_engine_destroy(). */
typedef struct ds_param ds_param;

typedef struct ds_param_desc {
  size_t struct_size;
  const char *name;     /**< unique in the engine, 1 to 255 bytes; copied */
  const int64_t *shape; /**< `ndim` extents, each >= 0; copied */
  int32_t ndim;         /**< 0 (a scalar) to 8 */
  int32_t no_decay;     /**< 1: weight decay does not apply */
  const float *init;    /**< numel values, the same on every rank; copied. NULL: zeros */
  const char *unit;     /**< unit to travel with; copied. NULL: the engine groups */
  int32_t frozen;       /**< 1: weights alone, no gradient, no optimizer state */
  int32_t group;        /**< of ds_engine_add_group(); 0: optimizer.params of the config */
  int32_t auxiliary; /**< 1: stepped by the optimizer's other rule, as embeddings under Muon are by
                          its AdamW; parameters that are no matrices always are */
  const char *experts; /**< name of the experts that it belongs to; copied. NULL: none. Kept and
                            compared over the ranks; gradients are reduced over all of them */
} ds_param_desc;
#define DS_PARAM_DESC_INIT \
  { sizeof(ds_param_desc), NULL, NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL }

/** Registers a parameter: the same ones in the same order on every rank. Parameters of one unit are
 *  registered one after the other. Registration ends with ds_engine_seal() or the first acquire or
 *  gradient; it is then compared over the ranks. Memory that runs out loses the engine, and the
 *  peers are told.
 *  thread: driver; collective: no; blocking: no; borrows: out_param from engine.
 *  @return DS_ERR_INVALID_ARGUMENT: bad name, shape, or a name that is taken;
 *          DS_ERR_INVALID_STATE: registration has ended. */
DS_API DS_NODISCARD ds_status ds_param_register(ds_engine *engine, const ds_param_desc *desc,
                                                ds_param **out_param);
/** The parameter of that name.
 *  thread: driver; collective: no; blocking: no; borrows: out_param from engine.
 *  @return DS_ERR_NOT_FOUND. */
DS_API DS_NODISCARD ds_status ds_param_find(ds_engine *engine, const char *name,
                                            ds_param **out_param);
/** The name it was registered with.
 *  thread: any; collective: no; blocking: no; borrows: out_name from param. */
DS_API DS_NODISCARD ds_status ds_param_get_name(const ds_param *param, const char **out_name);
/** The product of its extents.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_param_get_numel(const ds_param *param, int64_t *out_numel);

/** The full weights in the engine's dtype, for compute. Read them; what is written is lost. Valid
 *  until the matching ds_param_release(); calls nest. Not between ds_engine_step()'s start and end.
 *  thread: driver; collective: yes when the weights are sharded; blocking: yes;
 *  borrows: out_weights from param until ds_param_release. */
DS_API DS_NODISCARD ds_status ds_param_acquire(ds_param *param, ds_tensor *out_weights);
/** Ends one ds_param_acquire().
 *  thread: driver; collective: no; blocking: no.
 *  @return DS_ERR_INVALID_STATE: released more often than acquired. */
DS_API DS_NODISCARD ds_status ds_param_release(ds_param *param);

/** Adds this micro-batch's gradient, `numel` elements of `dtype` (DS_DTYPE_F32 or the engine's).
 *  Once a parameter and micro-batch. Gradients are averaged over the ranks and the micro-batches of
 *  an accumulation window by the library. Runs the gradient hooks. It may wait for the peers'
 *  gradients: between one collective call and the next every rank hands over those of the same
 *  parameters, in any order.
 *  thread: driver; collective: no; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_param_add_grad(ds_param *param, ds_dtype dtype, const void *grad,
                                                int64_t numel);

/** The same without a copy: the gradient is written where the library keeps it. */
typedef struct ds_grad_view {
  ds_tensor grad;     /**< in the engine's dtype, valid until ds_param_end_grad() */
  int32_t accumulate; /**< 1: add to what is there; 0: overwrite all of it */
} ds_grad_view;
#define DS_GRAD_VIEW_INIT \
  { DS_TENSOR_INIT, 0 }

/** Called again before ds_param_end_grad() it gives the same memory with accumulate = 1: for a
 *  parameter that is used twice. It may wait as ds_param_add_grad() does.
 *  thread: driver; collective: no; blocking: yes;
 *  borrows: out_view from param until ds_param_end_grad. */
DS_API DS_NODISCARD ds_status ds_param_begin_grad(ds_param *param, ds_grad_view *out_view);
/** Ends it and runs the gradient hooks. It may wait as ds_param_add_grad() does.
 *  thread: driver; collective: no; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_param_end_grad(ds_param *param);

/** Copies the fp32 master weights, gathered, to out_values[0..numel).
 *  thread: driver; collective: yes; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_param_read(ds_param *param, float *out_values, int64_t numel);

#ifdef __cplusplus
}
#endif
#endif
