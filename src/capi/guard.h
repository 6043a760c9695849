// The wall between C++ and C: nothing thrown crosses it, every failure leaves its message with the
// calling thread, and outputs are written only on success.
#pragma once

#include <deepspeed/ds_base.h>

#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include "base/status.h"

namespace ds::capi {

// Stores the error of the calling thread, or nothing when ok; returns the code.
ds_status Report(const Status& status) noexcept;
// The calling thread's error, forgotten here; ok when there is none.
Status TakeThreadError();

template <typename Body>
ds_status Guard(Body&& body) noexcept {
  try {
    return Report(body());
  } catch (const std::bad_alloc&) {
    return Report(Status(Code::kOutOfMemory, "out of memory"));
  } catch (const std::system_error& e) {
    return Report(Status(Code::kOutOfMemory, e.what()));  // a thread that could not be started
  } catch (const std::exception& e) {
    return Report(Status(Code::kInternal, e.what()));
  } catch (...) {
    return Report(Status(Code::kInternal, "unknown exception"));
  }
}

// A required pointer.
#define DS_REQUIRE(pointer)                                                         \
  do {                                                                              \
    if ((pointer) == nullptr) return ::ds::InvalidArgument("{} is NULL", #pointer); \
  } while (0)

// Reads a struct of the caller's, who may know fewer fields than we do, or more. Fields that the
// caller does not know keep the value of `known`; fields that we do not know must be zero.
template <typename T>
Status ReadStruct(const char* name, const T* given, T& known) {
  size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size < sizeof size || size > 65536) {
    return InvalidArgument("{}.struct_size is {}, expected {}; begin with the _INIT macro", name,
                           size, sizeof(T));
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (size_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) {
      return Error(Code::kUnsupported, "{} has {} bytes and sets one beyond the {} known here",
                   name, size, sizeof(T));
    }
  }
  std::memcpy(&known, given, size < sizeof(T) ? size : sizeof(T));
  known.struct_size = sizeof(T);
  return {};
}

// Fills a struct of the caller's as far as the caller knows it. Check it first, with CheckOutput.
template <typename T>
Status CheckOutput(const char* name, const T* out) {
  size_t size = 0;
  std::memcpy(&size, out, sizeof size);
  if (size >= sizeof size && size <= 65536) return {};
  return InvalidArgument("{}.struct_size is {}, expected {}; begin with the _INIT macro", name,
                         size, sizeof(T));
}
template <typename T>
void WriteStruct(const T& value, T* out) {
  const size_t size = out->struct_size;
  std::memcpy(out, &value, size < sizeof(T) ? size : sizeof(T));
  out->struct_size = size;
}

}  // namespace ds::capi
