// The element types that a caller can name: ds_dtype, of which DType, that which computes, is a
// part.
#pragma once

#include <deepspeed/ds_tensor.h>

#include <cstdint>

#include "base/status.h"
#include "capi/dlpack.h"
#include "tensor/dtype.h"

namespace ds::capi {

static_assert(DS_DTYPE_F32 == static_cast<int>(DType::kF32));
static_assert(DS_DTYPE_BF16 == static_cast<int>(DType::kBF16));
static_assert(DS_DTYPE_F16 == static_cast<int>(DType::kF16));

struct TypeInfo {
  ds_dtype dtype;
  const char* name;
  dlpack::TypeCode code;
  uint8_t bits;
};
inline constexpr TypeInfo kTypes[] = {
    {DS_DTYPE_F32, "f32", dlpack::kFloat, 32}, {DS_DTYPE_BF16, "bf16", dlpack::kBFloat, 16},
    {DS_DTYPE_F16, "f16", dlpack::kFloat, 16}, {DS_DTYPE_F64, "f64", dlpack::kFloat, 64},
    {DS_DTYPE_I8, "i8", dlpack::kInt, 8},      {DS_DTYPE_I16, "i16", dlpack::kInt, 16},
    {DS_DTYPE_I32, "i32", dlpack::kInt, 32},   {DS_DTYPE_I64, "i64", dlpack::kInt, 64},
    {DS_DTYPE_U8, "u8", dlpack::kUInt, 8},     {DS_DTYPE_BOOL, "bool", dlpack::kBool, 8},
};

inline const TypeInfo* FindType(ds_dtype dtype) {
  for (const TypeInfo& type : kTypes) {
    if (type.dtype == dtype) return &type;
  }
  return nullptr;
}

inline Status NoDType(const char* name, ds_dtype dtype) {
  return InvalidArgument("{} is {}, which is no dtype", name, static_cast<int>(dtype));
}

inline bool Computes(ds_dtype dtype) {
  return dtype == DS_DTYPE_F32 || dtype == DS_DTYPE_BF16 || dtype == DS_DTYPE_F16;
}

}  // namespace ds::capi
