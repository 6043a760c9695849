// The wall between C++ and C: nothing thrown crosses it, every failure leaves its message with the
// calling thread, and outputs are written only on success.
#pragma once

#include <deepspeed/ds_base.h>

#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include "base/failpoint.h"
#include "base/status.h"
#include "capi/first_size.h"
#include "capi/handle.h"

namespace ds::capi {

// Stores the error of the calling thread, or nothing when ok; returns the code.
ds_status Report(const Status& status) noexcept;
// The calling thread's error, forgotten here; ok when there is none.
Status TakeThreadError();

// What the exception that is being handled comes to. In a catch block.
Status StatusOfException() noexcept;

template <typename Body>
Status Enter(Body& body) {
  DS_FAILPOINT("entry");
  return body();
}

template <typename Body>
ds_status Guard(Body&& body) noexcept {
  try {
    return Report(Enter(body));
  } catch (...) {
    return Report(StatusOfException());
  }
}

template <typename T>
bool IsUsable(T* pointer) {
  if constexpr (IsHandle<std::remove_const_t<T>>) return pointer != nullptr && IsAlive(pointer);
  return pointer != nullptr;
}
// Why a pointer is not usable.
template <typename T>
Status Unusable(const char* name, T* pointer) {
  if constexpr (IsHandle<std::remove_const_t<T>>) {
    if (pointer != nullptr) {
      return InvalidArgument("{} is not a {}: it was destroyed, or never was one", name, T::kKind);
    }
  }
  return InvalidArgument("{} is NULL", name);
}

// A required pointer; of a handle also that it is alive.
#define DS_REQUIRE(pointer)                                                             \
  do {                                                                                  \
    if (!::ds::capi::IsUsable(pointer)) return ::ds::capi::Unusable(#pointer, pointer); \
  } while (0)

// A required text that names something.
#define DS_REQUIRE_NAME(text)                                               \
  do {                                                                      \
    DS_REQUIRE(text);                                                       \
    if (*(text) == '\0') return ::ds::InvalidArgument("{} is \"\"", #text); \
  } while (0)

// A pointer that may be NULL; of a handle that it is alive.
#define DS_OPTIONAL(pointer)                       \
  do {                                             \
    if ((pointer) != nullptr) DS_REQUIRE(pointer); \
  } while (0)

// Ends a handle; one that is gone already is left alone, and told to the log.
void LogUnusable(const char* function, const char* kind);
template <IsHandle T>
void Destroy(const char* function, T* handle) {
  if (handle != nullptr && !DestroyHandle(handle)) LogUnusable(function, T::kKind);
}

// Reads a struct of the caller's, who may know fewer fields than we do, or more. Fields that the
// caller does not know keep the value of `known`; fields that we do not know must be zero.
template <typename T>
Status CheckSize(const char* name, size_t size) {
  if (size >= kFirstSize<T> && size <= 65536) return {};
  return InvalidArgument("{}.struct_size is {}, expected {}; begin with the _INIT macro", name,
                         size, sizeof(T));
}
template <typename T>
Status ReadStruct(const char* name, const T* given, T& known) {
  size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  DS_TRY(CheckSize<T>(name, size));
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
  return CheckSize<T>(name, size);
}
template <typename T>
void WriteStruct(const T& value, T* out) {
  const size_t size = out->struct_size;
  std::memcpy(out, &value, size < sizeof(T) ? size : sizeof(T));
  out->struct_size = size;
}

}  // namespace ds::capi
