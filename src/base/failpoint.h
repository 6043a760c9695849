// Named places where the library can be made to fail, for tests. Switched off, each costs one
// relaxed load. Switched on by the environment, before the first one is passed,
//
//   DS_FAILPOINTS="alloc=3:oom;comm.all_reduce@1=2+:fail:101"
//
// or by Arm(). A plan is NAME[@RANK]=HIT[+]:ACTION: at the HIT-th passage, and with '+' at every
// later one, counted over all threads, or for the points of comm over those of one RANK alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"

namespace ds::failpoint {

struct Point {
  std::string_view name, where;
};
// Every name there is.
std::span<const Point> Points();

// Replaces all plans; "" switches off. ACTION is
//   oom       throws std::bad_alloc
//   throw     throws std::runtime_error
//   fail:CODE returns the status with the value CODE, e.g. fail:101
//   delay:MS  waits MS milliseconds, and goes on
//   count     goes on: Hits() tells how often
Status Arm(std::string_view plans);
// Passages of a point since it was armed. 0 for a point without a plan.
int64_t Hits(std::string_view name);

// Not for use but by the macro.
extern std::atomic<bool> armed;
Status Hit(std::string_view name, int rank = -1);

// In a function that returns Status or Result: DS_FAILPOINT("alloc"), DS_FAILPOINT("comm.x", rank).
#define DS_FAILPOINT(...)                                         \
  do {                                                            \
    if (::ds::failpoint::armed.load(std::memory_order_relaxed)) { \
      DS_TRY(::ds::failpoint::Hit(__VA_ARGS__));                  \
    }                                                             \
  } while (0)

}  // namespace ds::failpoint
