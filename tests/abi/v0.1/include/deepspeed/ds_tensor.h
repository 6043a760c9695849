/**
 * @file ds_tensor.h
 * What an array is: element type and a view of memory. Views own nothing.
 */
#ifndef DEEPSPEED_DS_TENSOR_H
#define DEEPSPEED_DS_TENSOR_H

#include "ds_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ds_dtype {
  DS_DTYPE_F32 = 1,
  DS_DTYPE_BF16 = 2, /**< the upper 16 bits of an IEEE-754 binary32 */
  DS_DTYPE_FORCE_INT32 = 0x7FFFFFFF
} ds_dtype;

/** A row-major, dense view of memory that somebody else owns. This struct does not grow. */
typedef struct ds_tensor {
  void *data;
  const int64_t *shape; /**< `ndim` extents, borrowed from the same owner; NULL when ndim is 0 */
  int64_t numel;        /**< product of the extents */
  ds_dtype dtype;
  int32_t ndim;
} ds_tensor;
#define DS_TENSOR_INIT \
  { NULL, NULL, 0, (ds_dtype)0, 0 }

/** "f32", "bf16"; "unknown dtype" for other values. Static storage. thread: any. */
DS_API const char *ds_dtype_string(ds_dtype dtype);
/** Bytes of one element. thread: any.
 *  @return DS_ERR_INVALID_ARGUMENT for a value that is no dtype. */
DS_API DS_NODISCARD ds_status ds_dtype_get_bytes(ds_dtype dtype, size_t *out_bytes);

#ifdef __cplusplus
}
#endif
#endif
