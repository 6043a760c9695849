/**
 * @file ds_generate.h
 * Ids from a model, one after the other: by a choice of the library's, or by logits for a choice of
 * the caller's. One sequence at a time; keys and values of what was read are kept.
 */
#ifndef DEEPSPEED_DS_GENERATE_H
#define DEEPSPEED_DS_GENERATE_H

#include "ds_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Reads a sequence anew. Gives the logits of the id that follows: as many as the vocabulary has,
 *  which `numel` must be.
 *  thread: driver; collective: yes when the weights are sharded; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_model_prefill(ds_model *model, const int32_t *ids, int64_t count,
                                               float *out_logits, int64_t numel);
/** Reads one more id, and gives the logits of the one that follows. What was read before a
 *  ds_engine_step() was read with other weights: begin anew after it.
 *  thread: driver; collective: yes when the weights are sharded; blocking: yes.
 *  @return DS_ERR_INVALID_STATE: nothing was read before, or the cache is full. */
DS_API DS_NODISCARD ds_status ds_model_decode(ds_model *model, int32_t id, float *out_logits,
                                              int64_t numel);

/** What the caller answers to an id. 0 and any other value mean that the function failed: the call
 *  returns DS_ERR_CALLBACK. */
typedef enum ds_token_action {
  DS_TOKEN_CONTINUE = 1,
  DS_TOKEN_STOP = 2,  /**< the text ends here, and the call succeeds */
  DS_TOKEN_ABORT = 3, /**< the call fails with the error of ds_error_set(), or DS_ERR_CALLBACK */
  DS_TOKEN_ACTION_FORCE_INT32 = 0x7FFFFFFF
} ds_token_action;

/** Called with each id as it is chosen, on the caller's thread. It may call ds_error_set(), and the
 *  getters of the model; nothing else on it or its engine. Returns a ds_token_action. */
typedef int32_t (*ds_token_fn)(int32_t id, void *user_data);

/** How ids are chosen: penalty, temperature, top_k, top_p and min_p, in this order, mean what they
 *  do in transformers, but that of equally likely ids at the edge of top_k the lower ones stay. */
typedef struct ds_generate_options {
  size_t struct_size;
  double temperature; /**< 0: always the likeliest; 1: as the model says */
  double top_p;       /**< among the likeliest that together have this probability; 0: all */
  double min_p;       /**< those at least this many times as likely as the likeliest; 0: all */
  double repetition_penalty; /**< of ids that are there already; 0 and 1: none */
  int64_t top_k;             /**< among the k likeliest; 0: all */
  uint64_t seed;             /**< the same seed, the same text */
  const int32_t *stop_ids;   /**< the text ends with any of these; NULL: with any eos_token_id of
                                  the model's config */
  int64_t stop_count;
  ds_token_fn fn; /**< NULL: nobody is asked */
  void *user_data;
} ds_generate_options;
#define DS_GENERATE_OPTIONS_INIT \
  { sizeof(ds_generate_options), 0.0, 0.0, 0.0, 0.0, 0, 0, NULL, 0, NULL, NULL }

/** Continues `prompt` by at most `max_tokens` ids, which out_ids has room for. The id that ended
 *  the text is among them. A model sees the last ids that its context, or the cache of its options,
 *  has room for: where that is full, the older half is dropped and the rest read again.
 *  On weights that are sharded every rank gives the same prompt and options; what the function of
 *  one rank answers holds for all, ABORT before STOP.
 *  thread: driver; collective: yes when the weights are sharded; blocking: yes; null: options.
 *  @return DS_ERR_RANK_MISMATCH: the ranks chose different ids. */
DS_API DS_NODISCARD ds_status ds_model_generate(ds_model *model, const int32_t *prompt,
                                                int64_t count, const ds_generate_options *options,
                                                int64_t max_tokens, int32_t *out_ids,
                                                int64_t *out_count);

#ifdef __cplusplus
}
#endif
#endif
