// Every allocation of the process, C or C++, on whatever thread, counted beneath the library's own
// accounts. Not under a sanitizer, whose own allocator must not be replaced.
#pragma once

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define DS_COUNTS_MALLOC 0
#else
#define DS_COUNTS_MALLOC 1
#endif

namespace ds::test {

int64_t AllocationCalls();  // so far
int64_t BytesInUse();       // as they were asked for, rounded up by the allocator

}  // namespace ds::test
