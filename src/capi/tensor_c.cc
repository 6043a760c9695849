#include <deepspeed/ds_tensor.h>

#include <memory>
#include <vector>

#include "capi/dlpack.h"
#include "capi/element_types.h"
#include "capi/guard.h"

using ds::Code;
using ds::Error;
using ds::InvalidArgument;
using ds::Status;
using ds::capi::Guard;

namespace ds::capi {
namespace {

const char* DeviceName(int32_t type) {
  static constexpr const char* kNames[] = {
      "unknown",   "CPU",          "CUDA",   "CUDA host", "OpenCL",  "unknown",
      "unknown",   "Vulkan",       "Metal",  "VPI",       "ROCm",    "ROCm host",
      "extension", "CUDA managed", "oneAPI", "WebGPU",    "Hexagon", "MAIA"};
  return type >= 0 && type < static_cast<int32_t>(std::size(kNames)) ? kNames[type] : "unknown";
}

const char* CodeName(uint8_t code) {
  static constexpr const char* kNames[] = {"int",    "uint",    "float", "opaque",
                                           "bfloat", "complex", "bool"};
  return code < std::size(kNames) ? kNames[code] : "unknown";
}

Status ReadType(const dlpack::DataType& given, ds_tensor& view) {
  for (const TypeInfo& type : kTypes) {
    if (type.code != given.code || type.bits != given.bits || given.lanes != 1) continue;
    view.dtype = type.dtype;
    return {};
  }
  return Error(Code::kUnsupported,
               "element type is {} ({}) of {} bits, {} lanes, expected f32 or "
               "another ds_dtype, 1 lane",
               CodeName(given.code), given.code, given.bits, given.lanes);
}

// Row-major and dense: every extent's step is the product of those behind it. An extent of 1 is
// never stepped over, and in an empty array none is.
Status CheckStrides(const dlpack::Tensor& given, int64_t numel) {
  if (given.strides == nullptr || numel == 0) return {};
  int64_t expected = 1;
  for (int32_t d = given.ndim - 1; d >= 0; --d) {
    if (given.shape[d] != 1 && given.strides[d] != expected) {
      return Error(Code::kUnsupported, "strides[{}] is {}, expected {}: row-major and dense", d,
                   given.strides[d], expected);
    }
    expected *= given.shape[d];
  }
  return {};
}

Status ReadShape(const dlpack::Tensor& given, ds_tensor& view) {
  if (given.ndim < 0) return InvalidArgument("ndim is {}, less than 0", given.ndim);
  if (given.ndim > 0 && given.shape == nullptr) {
    return InvalidArgument("shape is NULL, ndim is {}", given.ndim);
  }
  view.numel = 1;
  for (int32_t d = 0; d < given.ndim; ++d) {
    if (given.shape[d] < 0 || __builtin_mul_overflow(view.numel, given.shape[d], &view.numel)) {
      return InvalidArgument("shape[{}] is {}: below 0, or 2^63 elements in all", d,
                             given.shape[d]);
    }
  }
  view.ndim = given.ndim;
  view.shape = given.ndim == 0 ? nullptr : given.shape;
  return CheckStrides(given, view.numel);
}

Result<ds_tensor> ReadTensor(const dlpack::Tensor& given) {
  if (given.device.type != dlpack::kCpu) {
    return Error(Code::kUnsupported, "device is {} ({}), expected CPU ({})",
                 DeviceName(given.device.type), given.device.type, dlpack::kCpu);
  }
  ds_tensor view = DS_TENSOR_INIT;
  DS_TRY(ReadType(given.dtype, view));
  DS_TRY(ReadShape(given, view));
  if (given.data == nullptr && view.numel > 0) {
    return InvalidArgument("data is NULL, and the shape has {} elements", view.numel);
  }
  if (given.data != nullptr) view.data = static_cast<std::byte*>(given.data) + given.byte_offset;
  const auto bytes = static_cast<uintptr_t>(given.dtype.bits / 8);
  if (reinterpret_cast<uintptr_t>(view.data) % bytes != 0) {
    return Error(Code::kUnsupported, "data with byte_offset {} is not aligned to {} bytes",
                 given.byte_offset, bytes);
  }
  return view;
}

// An array of ours that is on loan to a consumer, with what it points to.
struct Loan {
  DLManagedTensorVersioned managed = {};
  std::vector<int64_t> shape, strides;
};

Result<std::unique_ptr<Loan>> MakeLoan(const ds_tensor& tensor, bool read_only) {
  const TypeInfo* type = FindType(tensor.dtype);
  if (type == nullptr) return NoDType("tensor.dtype", tensor.dtype);
  if (tensor.ndim < 0) return InvalidArgument("tensor.ndim is {}, less than 0", tensor.ndim);
  if (tensor.ndim > 0 && tensor.shape == nullptr) {
    return InvalidArgument("tensor.shape is NULL, ndim is {}", tensor.ndim);
  }
  auto loan = std::make_unique<Loan>();
  loan->shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  loan->strides.resize(tensor.ndim);
  int64_t numel = 1;
  for (int32_t d = tensor.ndim - 1; d >= 0; --d) {
    loan->strides[d] = numel;
    if (loan->shape[d] < 0 || __builtin_mul_overflow(numel, loan->shape[d], &numel)) {
      return InvalidArgument("tensor.shape[{}] is {}: below 0, or 2^63 elements in all", d,
                             loan->shape[d]);
    }
  }
  if (numel != tensor.numel) {
    return InvalidArgument("tensor.numel is {}, its shape has {}", tensor.numel, numel);
  }
  if (tensor.data == nullptr && numel > 0) {
    return InvalidArgument("tensor.data is NULL, and the shape has {} elements", numel);
  }
  DLManagedTensorVersioned& managed = loan->managed;
  managed.version = {dlpack::kMajor, dlpack::kMinor};
  managed.flags = read_only ? dlpack::kReadOnly : 0;
  managed.manager_ctx = loan.get();
  managed.deleter = [](DLManagedTensorVersioned* self) {
    if (self != nullptr) delete static_cast<Loan*>(self->manager_ctx);
  };
  managed.dl_tensor = {tensor.data,
                       {dlpack::kCpu, 0},
                       tensor.ndim,
                       {type->code, type->bits, 1},
                       loan->shape.data(),
                       loan->strides.data(),
                       0};
  return loan;
}

}  // namespace
}  // namespace ds::capi

extern "C" {

const char* ds_dtype_string(ds_dtype dtype) {
  const auto* type = ds::capi::FindType(dtype);
  return type == nullptr ? "unknown dtype" : type->name;
}

ds_status ds_dtype_get_bytes(ds_dtype dtype, size_t* out_bytes) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_bytes);
    const auto* type = ds::capi::FindType(dtype);
    if (type == nullptr) return ds::capi::NoDType("dtype", dtype);
    *out_bytes = type->bits / 8;
    return {};
  });
}

ds_status ds_tensor_from_dlpack(const struct DLManagedTensorVersioned* managed,
                                ds_tensor* out_tensor, int32_t* out_read_only) {
  return Guard([&]() -> Status {
    DS_REQUIRE(managed);
    DS_REQUIRE(out_tensor);
    if (managed->version.major != ds::dlpack::kMajor) {
      return Error(Code::kUnsupported, "DLPack version is {}.{}, expected {}.x",
                   managed->version.major, managed->version.minor, ds::dlpack::kMajor);
    }
    const bool read_only = (managed->flags & ds::dlpack::kReadOnly) != 0;
    if (read_only && out_read_only == nullptr) {
      return InvalidArgument("the array is read-only, and out_read_only, which says so, is NULL");
    }
    DS_ASSIGN(*out_tensor, ds::capi::ReadTensor(managed->dl_tensor));
    if (out_read_only != nullptr) *out_read_only = read_only ? 1 : 0;
    return {};
  });
}

ds_status ds_tensor_from_dlpack_unversioned(const struct DLManagedTensor* managed,
                                            ds_tensor* out_tensor) {
  return Guard([&]() -> Status {
    DS_REQUIRE(managed);
    DS_REQUIRE(out_tensor);
    DS_ASSIGN(*out_tensor, ds::capi::ReadTensor(managed->dl_tensor));
    return {};
  });
}

ds_status ds_tensor_to_dlpack(const ds_tensor* tensor, int32_t read_only,
                              struct DLManagedTensorVersioned** out_managed) {
  return Guard([&]() -> Status {
    DS_REQUIRE(tensor);
    DS_REQUIRE(out_managed);
    DS_ASSIGN(auto loan, ds::capi::MakeLoan(*tensor, read_only != 0));
    *out_managed = &loan.release()->managed;
    return {};
  });
}

}  // extern "C"
