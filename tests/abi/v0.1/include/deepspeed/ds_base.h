/**
 * @file ds_base.h
 * Status, errors, version and log: the rules that every other ds_*.h follows.
 *
 * Conventions of the whole library:
 * - Every call that can fail returns ds_status. On failure no output is written and nothing is left
 *   to free, and the calling thread's error object says what happened.
 * - Arguments run object, inputs, outputs; outputs are called out_*. A handle written to an output
 *   belongs to the caller, who hands it to the matching ds_*_destroy(), which takes NULL and
 *   returns nothing. A `const char *` or `const void *` output is borrowed from its object.
 * - Children keep what they need alive: handles may be destroyed in any order.
 * - Text is NUL-terminated UTF-8. Booleans are int32_t, 0 or 1. Sizes are elements unless the name
 *   says bytes.
 * - A struct that may grow begins with `size_t struct_size` and has an _INIT macro; zero or NULL in
 *   a field means its default.
 * - `thread:` in a function's comment says who may call it: `any` thread at any time, or the
 *   `driver`: one thread at a time for the object. `collective: yes` means every rank of the group
 *   makes the same call in the same order.
 */
#ifndef DEEPSPEED_DS_BASE_H
#define DEEPSPEED_DS_BASE_H

#include <stddef.h>
#include <stdint.h>

#define DS_VERSION_MAJOR 0
#define DS_VERSION_MINOR 1
#define DS_VERSION_PATCH 0

#if defined(__GNUC__)
#define DS_API __attribute__((visibility("default")))
#define DS_NODISCARD __attribute__((warn_unused_result))
#else
#define DS_API
#define DS_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Grouped by the largest thing a failure loses, so that a caller can choose its recovery from the
 *  range alone (ds_status_get_scope()). Values are never reused. */
typedef enum ds_status {
  DS_OK = 0,
  /* 1-99: the call was refused; every object is as it was. */
  DS_ERR_INVALID_ARGUMENT = 1,
  DS_ERR_INVALID_STATE = 2,
  DS_ERR_UNSUPPORTED = 3,
  DS_ERR_NOT_FOUND = 4,
  DS_ERR_CONFIG = 5,
  /* 100-199: a resource could not be had. */
  DS_ERR_OUT_OF_MEMORY = 100,
  DS_ERR_IO = 101,
  DS_ERR_CORRUPT_DATA = 102,
  DS_ERR_TIMEOUT = 103,
  DS_ERR_CANCELLED = 104,
  /* 200-299: the group of ranks is lost; every rank must leave it. */
  DS_ERR_COMM = 200,
  DS_ERR_RANK_LOST = 201,
  DS_ERR_RANK_MISMATCH = 202,
  /* 300-399: the engine is lost; destroy it. */
  DS_ERR_ENGINE_POISONED = 300,
  /* 400-499: a callback of the caller failed, or a fault of ours. */
  DS_ERR_CALLBACK = 400,
  DS_ERR_INTERNAL = 401,
  DS_STATUS_FORCE_INT32 = 0x7FFFFFFF
} ds_status;

/** What a status says is lost. */
typedef enum ds_status_scope {
  DS_SCOPE_NONE = 0,
  DS_SCOPE_CALL = 1,
  DS_SCOPE_RESOURCE = 2,
  DS_SCOPE_GROUP = 3,
  DS_SCOPE_ENGINE = 4,
  DS_SCOPE_CALLBACK = 5,
  DS_SCOPE_FORCE_INT32 = 0x7FFFFFFF
} ds_status_scope;

/** The name of a status, e.g. "rank lost"; "unknown status" for other values. Static storage.
 *  thread: any. */
DS_API const char *ds_status_string(ds_status status);
/** thread: any. */
DS_API ds_status_scope ds_status_get_scope(ds_status status);

/** What went wrong in one call. */
typedef struct ds_error ds_error;

/** Moves the calling thread's error out of its slot: the detail of the last call that failed on
 *  this thread, or NULL when there is none or it was taken. The caller destroys it. thread: any. */
DS_API ds_error *ds_error_take(void);
/** thread: any. NULL gives DS_OK. */
DS_API ds_status ds_error_get_status(const ds_error *error);
/** One line; names the thing and both values. Borrowed from `error`; "" for NULL. thread: any. */
DS_API const char *ds_error_get_message(const ds_error *error);
/** thread: any. */
DS_API void ds_error_destroy(ds_error *error);

/** The message of the calling thread's error without taking it; "" when there is none. Valid until
 *  the next ds_* call on this thread. thread: any. */
DS_API const char *ds_error_peek_message(void);
/** For callbacks: the error that the outer call shall report when the callback answers ABORT.
 *  `status` must not be DS_OK (it is then taken as DS_ERR_CALLBACK). thread: any. */
DS_API void ds_error_set(ds_status status, const char *message);

/** DS_VERSION_* of the library in use, as major * 10000 + minor * 100 + patch. This call is
 *  promised for ever. thread: any. */
DS_API uint32_t ds_version(void);
/** JSON text: version, compiler, instruction set in use, back ends and why one is missing. Static
 *  storage. thread: any. */
DS_API const char *ds_build_info(void);

typedef enum ds_log_level {
  DS_LOG_DEBUG = 1,
  DS_LOG_INFO = 2,
  DS_LOG_WARNING = 3,
  DS_LOG_ERROR = 4,
  DS_LOG_OFF = 5,
  DS_LOG_FORCE_INT32 = 0x7FFFFFFF
} ds_log_level;

/** May be called from any thread; must not call ds_* functions. `message` is valid during the
 *  call. */
typedef void (*ds_log_fn)(ds_log_level level, const char *component, const char *message,
                          void *user_data);

typedef struct ds_log_sink {
  size_t struct_size;
  ds_log_level level; /**< least level that is reported; 0: DS_LOG_WARNING */
  ds_log_fn fn;       /**< NULL: one line to stderr */
  void *user_data;
  void (*destroy)(void *user_data); /**< NULL, or called once when the sink is replaced */
} ds_log_sink;
#define DS_LOG_SINK_INIT \
  { sizeof(ds_log_sink), (ds_log_level)0, NULL, NULL, NULL }

/** Replaces the log sink of the process. Default: warnings and errors to stderr. On failure
 *  `sink->destroy` is not called. thread: any. */
DS_API DS_NODISCARD ds_status ds_log_set_sink(const ds_log_sink *sink);

/** Memory that the library gives away; ds_buffer_dispose() returns it. */
typedef struct ds_buffer {
  char *data;  /**< `size` bytes and a NUL behind them */
  size_t size; /**< bytes */
} ds_buffer;
#define DS_BUFFER_INIT \
  { NULL, 0 }

/** Frees the contents and makes it empty. NULL and empty are fine. thread: any. */
DS_API void ds_buffer_dispose(ds_buffer *buffer);

#ifdef __cplusplus
}
#endif
#endif
