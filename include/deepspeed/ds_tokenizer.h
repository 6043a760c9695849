/**
 * @file ds_tokenizer.h
 * A text as ids and back, by the tokenizer of a published model, or a byte an id.
 */
#ifndef DEEPSPEED_DS_TOKENIZER_H
#define DEEPSPEED_DS_TOKENIZER_H

#include "ds_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Does not change once it is made: any thread may use it at any time. */
typedef struct ds_tokenizer ds_tokenizer;

/** `name` is "bytes"; or a folder that holds a tokenizer.json of Hugging Face (byte-pair
 * encodings), a characters.json or a tokenizer.model of tiktoken; or one of these files. A tiktoken
 * file whose rule of splitting is not known by its size is named gpt2:FILE, llama3:FILE or
 * qwen2:FILE. thread: any; collective: no; blocking: yes; owns: out_tokenizer ->
 * ds_tokenizer_destroy.
 *  @return DS_ERR_NOT_FOUND, DS_ERR_IO, DS_ERR_CORRUPT_DATA, DS_ERR_UNSUPPORTED: no such file, one
 *          that cannot be read, or asks for what is not done here, by name. */
DS_API DS_NODISCARD ds_status ds_tokenizer_open(const char *name, ds_tokenizer **out_tokenizer);
/** thread: driver; collective: no; blocking: no; takes: tokenizer. */
DS_API void ds_tokenizer_destroy(ds_tokenizer *tokenizer);

typedef struct ds_tokenizer_info {
  size_t struct_size;
  const char *description; /**< "byte-level BPE (llama3)", for people */
  int64_t vocab;           /**< ids are below it; not all need stand for something */
  int32_t end_of_text;     /**< the id that ends a document; -1: there is none */
  int32_t before;          /**< how many ids go before a text that is read as a whole */
  int32_t behind;          /**< and how many behind it */
} ds_tokenizer_info;
#define DS_TOKENIZER_INFO_INIT \
  { sizeof(ds_tokenizer_info), NULL, 0, 0, 0, 0 }

/** thread: any; collective: no; blocking: no; borrows: out_info from tokenizer. */
DS_API DS_NODISCARD ds_status ds_tokenizer_get_info(const ds_tokenizer *tokenizer,
                                                    ds_tokenizer_info *out_info);

/** Which of the ids around a text are wanted. */
typedef enum ds_encode_mode {
  DS_ENCODE_TEXT = 1,   /**< those of the text alone */
  DS_ENCODE_PROMPT = 2, /**< and those before it: for what is to be continued */
  DS_ENCODE_WHOLE = 3,  /**< and those behind it, too */
  DS_ENCODE_MODE_FORCE_INT32 = 0x7FFFFFFF
} ds_encode_mode;

/** The ids of text[0..bytes), which may hold zeros. out_count gets how many there are. With out_ids
 *  NULL they are only counted; else `capacity` says how many it has room for.
 *  thread: any; collective: no; blocking: yes; null: out_ids.
 *  @return DS_ERR_INVALID_ARGUMENT: more ids than capacity; or a text that is not UTF-8, which
 *          "bytes" alone takes. */
DS_API DS_NODISCARD ds_status ds_tokenizer_encode(const ds_tokenizer *tokenizer, const char *text,
                                                  size_t bytes, ds_encode_mode mode,
                                                  int32_t *out_ids, int64_t capacity,
                                                  int64_t *out_count);
/** The text of ids[0..count). `with_special` 0: ids such as that of the end of a text give none.
 *  The text of one id may be a part of a character.
 *  thread: any; collective: no; blocking: yes; owns: out_text -> ds_buffer_dispose.
 *  @return DS_ERR_INVALID_ARGUMENT: an id that is none of the vocabulary. */
DS_API DS_NODISCARD ds_status ds_tokenizer_decode(const ds_tokenizer *tokenizer, const int32_t *ids,
                                                  int64_t count, int32_t with_special,
                                                  ds_buffer *out_text);
/** Whether an id stands for no text of its own: 1 or 0.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_tokenizer_is_special(const ds_tokenizer *tokenizer, int32_t id,
                                                      int32_t *out_special);
/** Writes its files into a folder, beside those of ds_model_save(): each is replaced whole. "bytes"
 *  has none.
 *  thread: any; collective: no; blocking: yes.
 *  @return DS_ERR_IO: a file that cannot be written. */
DS_API DS_NODISCARD ds_status ds_tokenizer_save(const ds_tokenizer *tokenizer, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
