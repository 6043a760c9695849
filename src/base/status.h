// Status and Result: the only way an internal function reports failure.
// The message is composed where the error is decided, and names the thing and both values.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ds {

// Grouped by the largest thing a failure loses. Equal to ds_status (ds_base.h), value by value.
enum class Code : int32_t {
  kOk = 0,
  // the call: nothing changed
  kInvalidArgument = 1,
  kInvalidState = 2,
  kUnsupported = 3,
  kNotFound = 4,
  kConfig = 5,
  // a resource: the object is as it was
  kOutOfMemory = 100,
  kIo = 101,
  kCorruptData = 102,
  kTimeout = 103,
  kCancelled = 104,
  // the group: every rank must leave it
  kComm = 200,
  kRankLost = 201,
  kRankMismatch = 202,
  // the engine: destroy it
  kEnginePoisoned = 300,
  // the caller's own code, or a fault of ours
  kCallback = 400,
  kInternal = 401,
};

const char* CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// A message may hold names and values of files: what is no text in them, or no UTF-8, is written as
// C has it.
std::string OneLine(std::string_view message);

template <typename... Args>
Status Error(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return {code, fmt::format(format, std::forward<Args>(args)...)};
}
template <typename... Args>
Status InvalidArgument(fmt::format_string<Args...> format, Args&&... args) {
  return {Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...)};
}
template <typename... Args>
Status InvalidState(fmt::format_string<Args...> format, Args&&... args) {
  return {Code::kInvalidState, fmt::format(format, std::forward<Args>(args)...)};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& operator*() { return *value_; }
  T* operator->() { return &*value_; }
  T&& Take() && { return std::move(*value_); }

 private:
  Status status_;
  std::optional<T> value_;
};

#define DS_CAT_(a, b) a##b
#define DS_CAT(a, b) DS_CAT_(a, b)

#define DS_TRY(expr)                                         \
  do {                                                       \
    if (::ds::Status ds_s = (expr); !ds_s.ok()) return ds_s; \
  } while (0)

#define DS_ASSIGN(lhs, expr) DS_ASSIGN_(DS_CAT(ds_r, __LINE__), lhs, expr)
#define DS_ASSIGN_(r, lhs, expr)  \
  auto r = (expr);                \
  if (!r.ok()) return r.status(); \
  lhs = std::move(r).Take()

}  // namespace ds
