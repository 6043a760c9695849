// Memory of the device, and the account of who holds how much of it. State and windows come from
// here and are touched once, on huge pages where the system has them; nothing is returned per step.
// What ranks that are processes give each other can lie where they all see it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "device/device.h"
#include "device/shared_heap.h"

namespace ds::device {

// What the bytes are for. State: weights, gradients, master, moments. Windows: gathered weights
// and gradients on their way to reduction. Scratch: everything else.
enum class MemoryKind { kWeights, kGradients, kMaster, kMoments, kWindows, kScratch };
inline constexpr int kMemoryKinds = 6;
const char* MemoryKindName(MemoryKind kind);

class MemoryAccount {
 public:
  void Add(MemoryKind kind, int64_t bytes);  // negative: given back
  int64_t bytes(MemoryKind kind) const { return current_[static_cast<int>(kind)]; }
  int64_t total() const;
  int64_t peak() const { return peak_; }
  // From where weights, gradients and windows are taken as far as it reaches; null: nowhere
  // special.
  void set_heap(SharedHeap* heap) { heap_ = heap; }
  SharedHeap* heap() const { return heap_; }
  // Whose memory it is, before any is taken; null: the host's. It outlives the account.
  void set_device(Device* device) { device_ = device; }
  Device* device() const { return device_; }

 private:
  std::array<std::atomic<int64_t>, kMemoryKinds> current_ = {};
  std::atomic<int64_t> peak_ = 0;
  SharedHeap* heap_ = nullptr;
  Device* device_ = nullptr;
};

// A 64-byte aligned block that is booked in an account, of the memory of its device. Zeroed, but
// for windows and scratch of a device, which hold anything. Moves, does not copy.
class Buffer {
 public:
  Buffer() = default;
  // `account` outlives the buffer. 0 bytes give an empty buffer.
  static Result<Buffer> Create(MemoryAccount& account, MemoryKind kind, int64_t bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  template <typename T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(data_), static_cast<size_t>(bytes_) / sizeof(T)};
  }

 private:
  Buffer(std::byte* data, int64_t bytes, MemoryAccount& account, MemoryKind kind, SharedHeap* heap);
  static Result<Buffer> CreateOn(Device& device, MemoryAccount& account, MemoryKind kind,
                                 int64_t bytes);
  void Free();

  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  MemoryAccount* account_ = nullptr;
  MemoryKind kind_ = MemoryKind::kScratch;
  SharedHeap* heap_ = nullptr;  // that it is from, or none
};

}  // namespace ds::device
