#include <deepspeed/ds_tensor.h>

#include "capi/guard.h"
#include "tensor/dtype.h"

using ds::Status;
using ds::capi::Guard;

static_assert(DS_DTYPE_F32 == static_cast<int>(ds::DType::kF32));
static_assert(DS_DTYPE_BF16 == static_cast<int>(ds::DType::kBF16));

extern "C" {

const char* ds_dtype_string(ds_dtype dtype) {
  if (dtype != DS_DTYPE_F32 && dtype != DS_DTYPE_BF16) return "unknown dtype";
  return ds::DTypeName(static_cast<ds::DType>(dtype));
}

ds_status ds_dtype_get_bytes(ds_dtype dtype, size_t* out_bytes) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_bytes);
    if (dtype != DS_DTYPE_F32 && dtype != DS_DTYPE_BF16) {
      return ds::InvalidArgument("dtype is {}, not f32 ({}) or bf16 ({})", static_cast<int>(dtype),
                                 static_cast<int>(DS_DTYPE_F32), static_cast<int>(DS_DTYPE_BF16));
    }
    *out_bytes = ds::DTypeBytes(static_cast<ds::DType>(dtype));
    return {};
  });
}

}  // extern "C"
