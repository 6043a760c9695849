/**
 * @file ds_tensor.h
 * What an array is: element type and a view of memory. Views own nothing. And the way from and to
 * DLPack, in which other frameworks exchange arrays without a copy.
 */
#ifndef DEEPSPEED_DS_TENSOR_H
#define DEEPSPEED_DS_TENSOR_H

#include "ds_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Weights and gradients are F32, BF16 or F16. The others are of views alone: what computes refuses
 *  them. */
typedef enum ds_dtype {
  DS_DTYPE_F32 = 1,
  DS_DTYPE_BF16 = 2, /**< the upper 16 bits of an IEEE-754 binary32 */
  DS_DTYPE_F16 = 3,  /**< IEEE-754 binary16 */
  DS_DTYPE_F64 = 4,
  DS_DTYPE_I8 = 5,
  DS_DTYPE_I16 = 6,
  DS_DTYPE_I32 = 7,
  DS_DTYPE_I64 = 8,
  DS_DTYPE_U8 = 9,
  DS_DTYPE_BOOL = 10, /**< a byte, 0 or 1 */
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

/** "f32", "bf16", "i64"; "unknown dtype" for other values.
 *  thread: any; collective: no; blocking: no; borrows: return from static. */
DS_API const char *ds_dtype_string(ds_dtype dtype);
/** Bytes of one element.
 *  thread: any; collective: no; blocking: no.
 *  @return DS_ERR_INVALID_ARGUMENT for a value that is no dtype. */
DS_API DS_NODISCARD ds_status ds_dtype_get_bytes(ds_dtype dtype, size_t *out_bytes);

/** Arrays of DLPack, here by their tags: include dlpack.h beside this header to look into them. */
struct DLManagedTensor;
struct DLManagedTensorVersioned;

/** A view of an array of DLPack 1.x in CPU memory, row-major and dense. The caller keeps `managed`
 *  and calls its deleter when nobody needs the view any more. `out_read_only`: 1: the producer
 *  forbids to write; where it is NULL such an array is refused.
 *  thread: any; collective: no; blocking: no; null: out_read_only;
 *  borrows: out_tensor from managed.
 *  @return DS_ERR_UNSUPPORTED: another version, device, element type or stride, by name and with
 *          both values. Of another major version only the deleter may be called. */
DS_API DS_NODISCARD ds_status ds_tensor_from_dlpack(const struct DLManagedTensorVersioned *managed,
                                                    ds_tensor *out_tensor, int32_t *out_read_only);
/** The same for what producers before DLPack 1.0 give, which tells neither version nor flags.
 *  thread: any; collective: no; blocking: no; borrows: out_tensor from managed. */
DS_API DS_NODISCARD ds_status
ds_tensor_from_dlpack_unversioned(const struct DLManagedTensor *managed, ds_tensor *out_tensor);
/** A view as an array of DLPack 1.1, for a consumer who calls its deleter once, from any thread.
 *  The shape is copied; the memory is that of the view and must outlive the array: weights until
 *  ds_param_release(), a gradient until ds_param_end_grad(). `read_only` 1: the consumer must not
 *  write.
 *  thread: any; collective: no; blocking: no; owns: out_managed -> out_managed.deleter. */
DS_API DS_NODISCARD ds_status ds_tensor_to_dlpack(const ds_tensor *tensor, int32_t read_only,
                                                  struct DLManagedTensorVersioned **out_managed);

#ifdef __cplusplus
}
#endif
#endif
