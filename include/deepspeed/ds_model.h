/**
 * @file ds_model.h
 * Language models of the families gpt2, llama, mistral, qwen2 and qwen3, as Hugging Face folders
 * hold them: over an engine, which trains them, or alone, to be read from.
 *
 *     training   ds_engine_create -> ds_model_create | ds_model_load
 *                -> ds_model_forward_backward, ds_engine_step (per micro-batch) -> ds_model_save
 *     inference  ds_model_open -> ds_model_loss | ds_model_logits | ds_generate.h
 *
 * The parameters of a model over an engine are parameters of that engine, under the names of the
 * folder: ds_param_find() gives them, hooks see their gradients, the engine shards, reduces and
 * steps them, and parameters of the caller's, but no second model's, may stand beside them. To
 * threads the two are one object. When the engine is destroyed first, the model still answers the
 * getters, and refuses the rest. Ids are int32_t, from 0 to below the vocabulary.
 */
#ifndef DEEPSPEED_DS_MODEL_H
#define DEEPSPEED_DS_MODEL_H

#include "ds_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ds_model ds_model;

typedef struct ds_model_options {
  size_t struct_size;
  /* All of them are alike on every rank of an engine, which compares them as it seals. */
  uint64_t seed;        /**< of random values and of dropout */
  int64_t cache_tokens; /**< most tokens of a generation, prompt and all; 0: the context */
  int32_t recompute;    /**< 1: of the activations only the input of each block is kept, and the
                             rest computed again in backward: less memory, the same bits */
  int64_t lora_rank;    /**< 0: all of the model is trained. Else the weights that are loaded are
                             frozen, and low-rank adapters beside them are trained (Hu et al.,
                             "LoRA", 2021), of this rank */
  double lora_alpha;    /**< an adapter counts lora_alpha / lora_rank times; 0: twice */
  const char *lora_targets; /**< the products that get one, by the ends of their names with commas
                                 between ("q_proj,v_proj"), or "all-linear"; NULL: queries and
                                 values. Copied */
  const char *base; /**< of a folder of adapters: that of the model below them; NULL: the one that
                         they name. Of no other (DS_ERR_INVALID_ARGUMENT). Copied */
  double lora_dropout;     /**< share of what adapters read that training drops; 0: none, and of a
                                folder of adapters what that names */
  int32_t lora_embeddings; /**< 1: beside new adapters the embedding and the head are trained whole,
                                and saved with them */
  int64_t vocab; /**< of ds_model_load(): ids that the model is to know. Those behind the folder's
                      begin with random values, and beside new adapters the embedding and the head
                      are trained whole for them; 0: as many as the folder's */
} ds_model_options;
#define DS_MODEL_OPTIONS_INIT \
  { sizeof(ds_model_options), 0, 0, 0, 0, 0.0, NULL, NULL, 0.0, 0, 0 }

/** A model of random weights: `hf_config` is the text of a Hugging Face config.json. Registers its
 *  parameters as ds_param_register() does: alike on every rank, before registration ends.
 *  Dropout is what the text asks for, in training alone.
 *  thread: driver; collective: no; blocking: yes; null: options;
 *  owns: out_model -> ds_model_destroy.
 *  @return DS_ERR_CONFIG, DS_ERR_UNSUPPORTED: a key of the text, by name;
 *          DS_ERR_INVALID_STATE: registration has ended. */
DS_API DS_NODISCARD ds_status ds_model_create(ds_engine *engine, const char *hf_config,
                                              const ds_model_options *options,
                                              ds_model **out_model);
/** The same with the config.json and the weights of a folder: model.safetensors, or the shards of
 *  its index, in F32, BF16 or F16 whatever the engine's dtype is. A rank reads its own share of the
 *  weights, some of it when the engine is sealed: until then the folder stays as it is.
 *  A folder of adapters, as Hugging Face's PEFT has it, is loaded with the model that it names,
 *  or with options.base: the adapters go on to be trained, with the embedding and the head that may
 *  lie beside them, and by the dropout that they name.
 *  thread: driver; collective: no; blocking: yes; null: options;
 *  owns: out_model -> ds_model_destroy.
 *  @return as ds_model_create(); DS_ERR_IO, DS_ERR_CORRUPT_DATA: a file that cannot be read;
 *          DS_ERR_NOT_FOUND, DS_ERR_INVALID_ARGUMENT, DS_ERR_UNSUPPORTED: a tensor that is missing,
 *          of another shape, or not a part of the model. */
DS_API DS_NODISCARD ds_status ds_model_load(ds_engine *engine, const char *folder,
                                            const ds_model_options *options, ds_model **out_model);

typedef struct ds_model_open_options {
  size_t struct_size;
  int64_t cache_tokens; /**< most tokens of a generation, prompt and all; 0: the context */
  ds_dtype dtype;       /**< of the weights and the arithmetic; 0: that of the folder's config */
  int32_t threads;      /**< CPU threads to use; 0: one a core */
  const char *base;     /**< as in ds_model_options */
} ds_model_open_options;
#define DS_MODEL_OPEN_OPTIONS_INIT \
  { sizeof(ds_model_open_options), 0, (ds_dtype)0, 0, NULL }

/** A model of a folder without an engine: its weights and nothing else, whole and of this process
 *  alone. What trains is refused (DS_ERR_UNSUPPORTED).
 *  thread: any; collective: no; blocking: yes; null: options;
 *  owns: out_model -> ds_model_destroy.
 *  @return as ds_model_load(). */
DS_API DS_NODISCARD ds_status ds_model_open(const char *folder,
                                            const ds_model_open_options *options,
                                            ds_model **out_model);
/** Frees the model. Parameters that it registered stay with their engine.
 *  thread: driver; collective: no; blocking: no; takes: model. */
DS_API void ds_model_destroy(ds_model *model);

/** What a model is. */
typedef struct ds_model_info {
  size_t struct_size;
  const char *family;       /**< model_type of its config.json */
  int64_t vocab;            /**< ids are below it */
  int64_t context;          /**< tokens of a sequence that it was made for */
  int64_t layers;           /**< blocks */
  int64_t width;            /**< of the stream between them */
  int64_t params;           /**< tensors; see ds_model_get_param_name() */
  int64_t numel;            /**< of all of them */
  int64_t activation_bytes; /**< held now, the cache of a generation among them */
  ds_dtype dtype;           /**< of its weights and arithmetic */
} ds_model_info;
#define DS_MODEL_INFO_INIT \
  { sizeof(ds_model_info), NULL, 0, 0, 0, 0, 0, 0, 0, (ds_dtype)0 }

/** thread: driver; collective: no; blocking: no; borrows: out_info from static. */
DS_API DS_NODISCARD ds_status ds_model_get_info(const ds_model *model, ds_model_info *out_info);
/** The text of its config.json, as ds_model_save() writes it.
 *  thread: any; collective: no; blocking: no; owns: out_json -> ds_buffer_dispose. */
DS_API DS_NODISCARD ds_status ds_model_get_config(const ds_model *model, ds_buffer *out_json);
/** The name of parameter `index`, in the order of first use, for ds_param_find().
 *  thread: any; collective: no; blocking: no; borrows: out_name from model.
 *  @return DS_ERR_INVALID_ARGUMENT: no such parameter. */
DS_API DS_NODISCARD ds_status ds_model_get_param_name(const ds_model *model, int64_t index,
                                                      const char **out_name);
/** Bytes of activations that ds_model_forward_backward() takes for `batch` sequences of `tokens`
 *  each: what it will allocate once and keep.
 *  thread: driver; collective: no; blocking: no.
 *  @return DS_ERR_UNSUPPORTED: a model without an engine. */
DS_API DS_NODISCARD ds_status ds_model_plan(ds_model *model, int64_t batch, int64_t tokens,
                                            int64_t *out_bytes);

/** Sequences of one length, row by row: arrays of `batch` x `tokens`. */
typedef struct ds_token_batch {
  size_t struct_size;
  int64_t batch;
  int64_t tokens;
  const int32_t *ids;
  const int32_t *targets;    /**< the id that follows each; -1: none, it counts for nothing.
                                  May be NULL where no loss is asked for */
  const int32_t *first_keys; /**< NULL, or the first token that each token sees, not falling along
                                  a sequence: padding on the left, and documents that lie before,
                                  are hidden by it */
  int64_t first_sequence;    /**< in training: the number of the batch's first sequence among all
                                  of the run, over ranks and steps, from 1 on. Dropout draws by
                                  it: the same number and seed drop the same. 0: counted since the
                                  model was made */
} ds_token_batch;
#define DS_TOKEN_BATCH_INIT \
  { sizeof(ds_token_batch), 0, 0, NULL, NULL, NULL, 0 }

/** Cross entropy in nats, of the batch of this rank. */
typedef struct ds_loss {
  size_t struct_size;
  double sum;     /**< over the tokens that have a target */
  double mean;    /**< sum / tokens; 0 when there are none */
  int64_t tokens; /**< that have a target */
} ds_loss;
#define DS_LOSS_INIT \
  { sizeof(ds_loss), 0.0, 0.0, 0 }

/** Forward alone.
 *  thread: driver; collective: yes when the weights are sharded; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_model_loss(ds_model *model, const ds_token_batch *batch,
                                            ds_loss *out_loss);
/** Forward and backward: once a micro-batch, before ds_engine_step(). The gradients of `scale`
 *  times the sum of the losses go to the engine, which averages them over ranks and micro-batches.
 *  `scale` 0: 1 / tokens, so that they are those of the mean; where ranks or micro-batches differ
 *  in how many tokens have a target, give one that is alike. The engine's loss scale (fp16) is
 *  multiplied in here.
 *  Gradient hooks run, and have to answer DS_HOOK_CONTINUE: what fails once a gradient was handed
 *  over loses the engine. So does what fails on a rank while its peers go on; what is refused
 *  before that (ids out of range, a second call in a micro-batch) changes nothing.
 *  thread: driver; collective: yes; blocking: yes.
 *  @return DS_ERR_UNSUPPORTED: a model without an engine. */
DS_API DS_NODISCARD ds_status ds_model_forward_backward(ds_model *model,
                                                        const ds_token_batch *batch, double scale,
                                                        ds_loss *out_loss);
/** Logits of the positions from `first` on, of every sequence: batch x (tokens - first) x vocab
 *  values, which `numel` must be.
 *  thread: driver; collective: yes when the weights are sharded; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_model_logits(ds_model *model, const ds_token_batch *batch,
                                              int64_t first, float *out_logits, int64_t numel);

/** Writes config.json and model.safetensors in the dtype of the model, which ds_model_load() and
 *  transformers read. The folder is made; each file is replaced whole, config.json last. Rank 0
 *  writes; when it cannot, every rank returns the status, and the engine goes on.
 *  Of a model with adapters these alone are written, as PEFT has them, and an embedding and a head
 *  that lie with them: adapter_config.json, with the folder of the model below, and
 *  adapter_model.safetensors.
 *  thread: driver; collective: yes; blocking: yes.
 *  @return DS_ERR_IO: a file that cannot be written. */
DS_API DS_NODISCARD ds_status ds_model_save(ds_model *model, const char *folder);
/** The same, but what is written is one model without adapters: they are added to its weights.
 *  thread: driver; collective: yes; blocking: yes.
 *  @return DS_ERR_IO: a file that cannot be written. */
DS_API DS_NODISCARD ds_status ds_model_save_merged(ds_model *model, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
