/* What libdeepspeed_onednn.so exports: matrix products of one thread each. C, because the module
 * and the library are built apart. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DS_ONEDNN_MODULE_VERSION 1

/* Types as in tensor/dtype.h: 1 fp32, 2 bf16. Strides in elements, see GemmShape. */
typedef struct ds_onednn_shape {
  int64_t m, n, k, lda, ldb, ldc;
  int32_t trans_a, trans_b, accumulate, in, out;
} ds_onednn_shape;

typedef struct ds_onednn_module {
  int32_t version; /* DS_ONEDNN_MODULE_VERSION */
  /* The version of oneDNN and the instruction set it chose. */
  const char* (*describe)(void);
  /* A primitive for the shape, to keep for ever, or NULL and *why. */
  void* (*create)(const ds_onednn_shape* shape, const char** why);
  /* Any thread; several at once. 0: done. */
  int32_t (*run)(void* primitive, const void* a, const void* b, void* c);
} ds_onednn_module;

/* The symbol that the library looks up. */
typedef const ds_onednn_module* (*ds_onednn_entry_fn)(void);
#define DS_ONEDNN_ENTRY "ds_onednn_entry"

#ifdef __cplusplus
}
#endif
