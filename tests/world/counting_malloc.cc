#include <cstdlib>

#include "counting_malloc.h"

#if DS_COUNTS_MALLOC
#include <malloc.h>

#include <atomic>
#include <cerrno>

extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* p, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* p);
}

namespace {

std::atomic<int64_t> calls = 0, in_use = 0;

void* Counted(void* p) {
  calls.fetch_add(1, std::memory_order_relaxed);
  if (p != nullptr) in_use.fetch_add(malloc_usable_size(p), std::memory_order_relaxed);
  return p;
}

void Forget(void* p) {
  if (p != nullptr) in_use.fetch_sub(malloc_usable_size(p), std::memory_order_relaxed);
}

}  // namespace

extern "C" {

void* malloc(size_t bytes) { return Counted(__libc_malloc(bytes)); }
void* calloc(size_t count, size_t bytes) { return Counted(__libc_calloc(count, bytes)); }
void* realloc(void* p, size_t bytes) {
  Forget(p);
  return Counted(__libc_realloc(p, bytes));
}
void* memalign(size_t alignment, size_t bytes) {
  return Counted(__libc_memalign(alignment, bytes));
}
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** out, size_t alignment, size_t bytes) {
  void* p = memalign(alignment, bytes);
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}
void free(void* p) {
  Forget(p);
  __libc_free(p);
}

}  // extern "C"

namespace ds::test {
int64_t AllocationCalls() { return calls; }
int64_t BytesInUse() { return in_use; }
}  // namespace ds::test
#else
namespace ds::test {
int64_t AllocationCalls() { return 0; }
int64_t BytesInUse() { return 0; }
}  // namespace ds::test
#endif
