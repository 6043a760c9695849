// Memory of this process that other processes of its host can map and read where it lies: one file
// without a name, as long as all that it might ever hold, whose pages come and go with its blocks.
// So a peer maps it once, and a place in it is a number that means the same to both.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "base/status.h"

namespace ds::device {

// By what another process finds it, as plain memory.
struct SharedHeapId {
  int64_t process = 0, file = -1;
  uint64_t device = 0, inode = 0, bytes = 0;
};

class SharedHeap {
 public:
  // That of this process, made at the first call for `sharers` processes that will map each
  // other's. It stays until the program ends, for whoever reads it may outlive a block of it.
  static Result<SharedHeap*> OfProcess(int sharers);

  SharedHeap(const SharedHeap&) = delete;
  SharedHeap& operator=(const SharedHeap&) = delete;

  // Zeroed, in whole pages. Null where there is no room or no memory.
  std::byte* Allocate(size_t bytes);
  void Free(std::byte* block);

  // Where in the heap all of [data, data + bytes) lies; -1: it does not.
  int64_t OffsetOf(const void* data, size_t bytes) const {
    const auto at = reinterpret_cast<uintptr_t>(data), begin = reinterpret_cast<uintptr_t>(base_);
    const bool is_in = at >= begin && bytes <= bytes_ && at - begin <= bytes_ - bytes;
    return is_in ? static_cast<int64_t>(at - begin) : -1;
  }
  const SharedHeapId& id() const { return id_; }

 private:
  SharedHeap() = default;
  static Result<std::unique_ptr<SharedHeap>> Create(size_t bytes);
  bool Commit(size_t offset, size_t bytes);

  std::byte* base_ = nullptr;
  size_t bytes_ = 0;
  int file_ = -1;
  SharedHeapId id_;
  std::mutex mutex_;                       // guards what follows
  std::map<size_t, size_t> free_, taken_;  // offset to bytes; neighbours in free_ are joined
};

// The heap of another process, for reading. What was freed there reads as zero.
class SharedHeapView {
 public:
  static Result<std::unique_ptr<SharedHeapView>> Open(const SharedHeapId& id);
  ~SharedHeapView();
  SharedHeapView(const SharedHeapView&) = delete;
  SharedHeapView& operator=(const SharedHeapView&) = delete;

  // Null where [offset, offset + bytes) is not in it.
  const std::byte* at(int64_t offset, size_t bytes) const {
    const bool is_in =
        offset >= 0 && bytes <= bytes_ && static_cast<uint64_t>(offset) <= bytes_ - bytes;
    return is_in ? base_ + offset : nullptr;
  }

 private:
  SharedHeapView(const std::byte* base, size_t bytes) : base_(base), bytes_(bytes) {}

  const std::byte* const base_;
  const size_t bytes_;
};

}  // namespace ds::device
