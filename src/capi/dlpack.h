// The layout of DLPack 1.1's arrays, as its specification publishes it
// (https://dmlc.github.io/dlpack/latest/c_api.html). Internal: callers bring a dlpack.h of their
// own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ds::dlpack {

inline constexpr uint32_t kMajor = 1, kMinor = 1;
inline constexpr uint64_t kReadOnly = 1;  // a bit of the flags
inline constexpr int32_t kCpu = 1;        // a device

// Kinds of elements.
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4, kComplex = 5, kBool = 6 };

struct Version {
  uint32_t major, minor;
};
struct Device {
  int32_t type, id;
};
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major and dense
  uint64_t byte_offset;
};

}  // namespace ds::dlpack

// The two that ds_tensor.h names.
struct DLManagedTensor {
  ds::dlpack::Tensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};
struct DLManagedTensorVersioned {
  ds::dlpack::Version version;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned* self);
  uint64_t flags;
  ds::dlpack::Tensor dl_tensor;
};

static_assert(sizeof(ds::dlpack::Tensor) == 48 && offsetof(ds::dlpack::Tensor, byte_offset) == 40);
static_assert(sizeof(DLManagedTensor) == 64 && sizeof(DLManagedTensorVersioned) == 80);
static_assert(offsetof(DLManagedTensorVersioned, dl_tensor) == 32);
