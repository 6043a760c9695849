#include <deepspeed/ds_base.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/log.h"
#include "capi/guard.h"
#include "engine/assembly.h"
#include "kernels/ops.h"

using ds::Code;
using ds::Status;
using ds::capi::Guard;

static_assert(static_cast<int>(DS_ERR_CONFIG) == static_cast<int>(Code::kConfig));
static_assert(static_cast<int>(DS_ERR_CANCELLED) == static_cast<int>(Code::kCancelled));
static_assert(static_cast<int>(DS_ERR_RANK_MISMATCH) == static_cast<int>(Code::kRankMismatch));
static_assert(static_cast<int>(DS_ERR_ENGINE_POISONED) == static_cast<int>(Code::kEnginePoisoned));
static_assert(static_cast<int>(DS_ERR_INTERNAL) == static_cast<int>(Code::kInternal));
static_assert(sizeof(ds_status) == 4);

struct ds_error {
  ds_status status;
  std::string message;
};

namespace ds::capi {
namespace {

thread_local ds_error slot = {DS_OK, ""};
// Handed out when there is no memory for a new one; never freed.
ds_error no_memory = {DS_ERR_OUT_OF_MEMORY, "out of memory"};

std::string BuildInfo() {
  Json backends = Json::array();
  for (const Backend& b : Backends()) {
    backends.push_back({{"noun", b.noun},
                        {"name", b.name},
                        {"available", b.available},
                        {b.available ? "what" : "why", b.why}});
  }
  const Json info = {
      {"version", fmt::format("{}.{}.{}", DS_VERSION_MAJOR, DS_VERSION_MINOR, DS_VERSION_PATCH)},
      {"compiler", __VERSION__},
      {"instruction_set", kernels::InstructionSet()},
      {"backends", backends},
  };
  return DumpJson(info);
}

}  // namespace

ds_status Report(const Status& status) noexcept {
  slot.status = static_cast<ds_status>(status.code());
  try {
    slot.message = OneLine(status.message());
  } catch (...) {
    slot.message.clear();  // the code stands even when its words do not fit
  }
  return slot.status;
}

Status StatusOfException() noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
      return Status(Code::kOutOfMemory, "out of memory");
    } catch (const std::system_error& e) {
      const bool thread = e.code() == std::errc::resource_unavailable_try_again;
      return Status(Code::kOutOfMemory,
                    fmt::format("{}{}", thread ? "a thread cannot be started: " : "", e.what()));
    } catch (const std::exception& e) {
      return Status(Code::kInternal, e.what());
    } catch (...) {
      return Status(Code::kInternal, "unknown exception");
    }
  } catch (...) {
    return Status(Code::kOutOfMemory, "");  // there is no memory for the words either
  }
}

void LogUnusable(const char* function, const char* kind) {
  try {
    Log(LogLevel::kError, "capi", "{}: not a {}: it was destroyed, or never was one: ignored",
        function, kind);
  } catch (...) {  // a log that fails is no reason to fail
  }
}

Status TakeThreadError() {
  Status status(static_cast<Code>(slot.status), std::move(slot.message));
  slot = {DS_OK, ""};
  return status;
}

}  // namespace ds::capi

extern "C" {

const char* ds_status_string(ds_status status) { return ds::CodeName(static_cast<Code>(status)); }

ds_status_scope ds_status_get_scope(ds_status status) {
  if (status <= 0) return DS_SCOPE_NONE;
  if (status < 100) return DS_SCOPE_CALL;
  if (status < 200) return DS_SCOPE_RESOURCE;
  if (status < 300) return DS_SCOPE_GROUP;
  if (status < 400) return DS_SCOPE_ENGINE;
  return DS_SCOPE_CALLBACK;
}

ds_error* ds_error_take(void) {
  if (ds::capi::slot.status == DS_OK) return nullptr;
  auto* error = new (std::nothrow) ds_error(std::move(ds::capi::slot));
  ds::capi::slot = {DS_OK, ""};
  return error != nullptr ? error : &ds::capi::no_memory;
}

ds_status ds_error_get_status(const ds_error* error) {
  return error == nullptr ? DS_OK : error->status;
}

const char* ds_error_get_message(const ds_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}

void ds_error_destroy(ds_error* error) {
  if (error != &ds::capi::no_memory) delete error;
}

const char* ds_error_peek_message(void) { return ds::capi::slot.message.c_str(); }

void ds_error_set(ds_status status, const char* message) {
  const Code code = status == DS_OK ? Code::kCallback : static_cast<Code>(status);
  try {
    ds::capi::Report(Status(code, message == nullptr ? "no message was given" : message));
  } catch (...) {
    ds::capi::Report(Status(code, ""));
  }
}

uint32_t ds_version(void) {
  return DS_VERSION_MAJOR * 10000 + DS_VERSION_MINOR * 100 + DS_VERSION_PATCH;
}

const char* ds_build_info(void) {
  try {
    static const std::string info = ds::capi::BuildInfo();
    return info.c_str();
  } catch (...) {
    return "{}";
  }
}

ds_status ds_log_set_sink(const ds_log_sink* sink) {
  return Guard([&]() -> Status {
    DS_REQUIRE(sink);
    ds_log_sink known = DS_LOG_SINK_INIT;
    DS_TRY(ds::capi::ReadStruct("sink", sink, known));
    if (known.level < 0 || known.level > DS_LOG_OFF) {
      return ds::InvalidArgument("sink.level is {}, not in 0..{}", static_cast<int>(known.level),
                                 static_cast<int>(DS_LOG_OFF));
    }
    const auto level =
        known.level == 0 ? ds::LogLevel::kWarning : static_cast<ds::LogLevel>(known.level);
    if (known.fn == nullptr) {
      ds::SetLogSink(level, {});
      return {};
    }
    const std::shared_ptr<void> owner(known.user_data, [destroy = known.destroy](void* data) {
      if (destroy != nullptr) destroy(data);
    });
    ds::SetLogSink(level, [fn = known.fn, owner](ds::LogLevel at, std::string_view component,
                                                 std::string_view text) {
      fn(static_cast<ds_log_level>(at), std::string(component).c_str(), std::string(text).c_str(),
         owner.get());
    });
    return {};
  });
}

void ds_buffer_dispose(ds_buffer* buffer) {
  if (buffer == nullptr) return;
  std::free(buffer->data);
  *buffer = DS_BUFFER_INIT;
}

}  // extern "C"
