#include "device/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/failpoint.h"

namespace ds::device {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kMostBytes = int64_t{1} << 60;  // above it the sums of sizes could overflow

// What is shorter is passed on as fast by a copy.
constexpr int64_t kLeastShared = 64 << 10;

// What is given to peers or taken from them.
bool IsExchanged(MemoryKind kind) {
  return kind == MemoryKind::kWeights || kind == MemoryKind::kGradients ||
         kind == MemoryKind::kWindows;
}

Status OutOfMemory(const MemoryAccount& account, MemoryKind kind, int64_t bytes) {
  return Error(Code::kOutOfMemory, "out of memory: {} bytes for {}, {} held", bytes,
               MemoryKindName(kind), account.total());
}

}  // namespace

const char* MemoryKindName(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kWeights:
      return "weights";
    case MemoryKind::kGradients:
      return "gradients";
    case MemoryKind::kMaster:
      return "master";
    case MemoryKind::kMoments:
      return "moments";
    case MemoryKind::kWindows:
      return "windows";
    case MemoryKind::kScratch:
      return "scratch";
  }
  return "unknown";
}

void MemoryAccount::Add(MemoryKind kind, int64_t bytes) {
  current_[static_cast<int>(kind)] += bytes;
  const int64_t now = total();
  int64_t seen = peak_;
  while (now > seen && !peak_.compare_exchange_weak(seen, now)) {
  }
}

int64_t MemoryAccount::total() const {
  int64_t sum = 0;
  for (const auto& bytes : current_) sum += bytes;
  return sum;
}

Result<Buffer> Buffer::Create(MemoryAccount& account, MemoryKind kind, int64_t bytes) {
  if (bytes == 0) return Buffer();
  DS_FAILPOINT("alloc");
  if (account.device() != nullptr) return CreateOn(*account.device(), account, kind, bytes);
  const int64_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  const int64_t rounded = (std::min(bytes, kMostBytes) + kAlignment - 1) / kAlignment * kAlignment;
  void* data = nullptr;
  if (SharedHeap* heap = account.heap();
      heap != nullptr && IsExchanged(kind) && bytes >= kLeastShared && bytes <= kMostBytes) {
    if (std::byte* shared = heap->Allocate(static_cast<size_t>(bytes)); shared != nullptr) {
      return Buffer(shared, bytes, account, kind, heap);
    }
  }
  if (bytes > kMostBytes || posix_memalign(&data, alignment, rounded) != 0) {
    return OutOfMemory(account, kind, bytes);
  }
  // First touch of 4 KiB pages runs at a tenth of memory speed; a refusal costs only that.
  if (rounded >= kHugePage) (void)madvise(data, rounded, MADV_HUGEPAGE);
  std::memset(data, 0, rounded);
  return Buffer(static_cast<std::byte*>(data), bytes, account, kind, nullptr);
}

Result<Buffer> Buffer::CreateOn(Device& device, MemoryAccount& account, MemoryKind kind,
                                int64_t bytes) {
  std::byte* data = bytes > kMostBytes ? nullptr : device.Allocate(bytes);
  if (data == nullptr) return OutOfMemory(account, kind, bytes);
  if (kind != MemoryKind::kWindows && kind != MemoryKind::kScratch) {
    const auto size = static_cast<size_t>(bytes);
    (void)device.queue().Launch([to = device.queue().Map(data), size] {
      std::memset(to, 0, size);
      return Status();
    });
  }
  return Buffer(data, bytes, account, kind, nullptr);
}

Buffer::Buffer(std::byte* data, int64_t bytes, MemoryAccount& account, MemoryKind kind,
               SharedHeap* heap)
    : data_(data), bytes_(bytes), account_(&account), kind_(kind), heap_(heap) {
  account.Add(kind, bytes);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      account_(other.account_),
      kind_(other.kind_),
      heap_(other.heap_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    Free();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    account_ = other.account_;
    kind_ = other.kind_;
    heap_ = other.heap_;
  }
  return *this;
}

Buffer::~Buffer() { Free(); }

void Buffer::Free() {
  if (data_ == nullptr) return;
  account_->Add(kind_, -bytes_);
  if (account_->device() != nullptr) {
    account_->device()->Free(data_);
  } else if (heap_ != nullptr) {
    heap_->Free(data_);
  } else {
    std::free(data_);
  }
  data_ = nullptr;
}

}  // namespace ds::device
