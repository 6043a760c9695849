#include "device/shared_heap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/failpoint.h"

namespace ds::device {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugeBytes = 2 << 20;
constexpr uint64_t kMostOfAll = uint64_t{16} << 40;  // addresses that the heaps of a host may take

size_t Up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Twice the memory of the host, for there are gaps between blocks; only what is used costs
// anything.
size_t BytesFor(int sharers) {
  const auto memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return Up(std::min(2 * memory, kMostOfAll / static_cast<uint64_t>(std::max(1, sharers))),
            kHugeBytes);
}

// At an address from which huge pages can be had.
std::byte* MapAligned(int file, size_t bytes, int protection) {
  void* wide = mmap(nullptr, bytes + kHugeBytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (wide == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(wide);
  const size_t skip =
      Up(reinterpret_cast<uintptr_t>(begin), kHugeBytes) - reinterpret_cast<uintptr_t>(begin);
  void* data =
      mmap(begin + skip, bytes, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, file, 0);
  if (data == MAP_FAILED) {
    const int why = errno;
    munmap(wide, bytes + kHugeBytes);
    errno = why;
    return nullptr;
  }
  if (skip > 0) munmap(begin, skip);
  if (skip < kHugeBytes) munmap(begin + skip + bytes, kHugeBytes - skip);
  // A child has nothing to do with it, and would write to the same pages.
  (void)madvise(data, bytes, MADV_DONTFORK);
  return static_cast<std::byte*>(data);
}

}  // namespace

Result<SharedHeap*> SharedHeap::OfProcess(int sharers) {
  DS_FAILPOINT("device.shared_heap");
  static std::mutex mutex;
  static SharedHeap* heap = nullptr;  // never destroyed
  const std::lock_guard lock(mutex);
  if (heap == nullptr || heap->id_.process != getpid()) {  // a child has not its parent's
    DS_ASSIGN(auto made, Create(BytesFor(sharers)));
    heap = made.release();
  }
  return heap;
}

Result<std::unique_ptr<SharedHeap>> SharedHeap::Create(size_t bytes) {
  std::unique_ptr<SharedHeap> heap(new SharedHeap);
  const int file = memfd_create("deepspeed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return Error(Code::kIo, "memfd_create failed: {}", std::strerror(errno));
  struct stat state = {};
  std::byte* base = nullptr;
  // Its length never changes: nobody who maps it can find its end moved.
  if (ftruncate(file, static_cast<off_t>(bytes)) != 0 ||
      fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
      fstat(file, &state) != 0 ||
      (base = MapAligned(file, bytes, PROT_READ | PROT_WRITE)) == nullptr) {
    const int why = errno;
    close(file);
    return Error(Code::kOutOfMemory, "{} bytes of addresses for shared memory cannot be had: {}",
                 bytes, std::strerror(why));
  }
  heap->file_ = file;
  heap->base_ = base;
  heap->bytes_ = bytes;
  heap->id_ = {getpid(), file, state.st_dev, state.st_ino, bytes};
  heap->free_[0] = bytes;
  return heap;
}

// Pages are had now: one that is found missing later would kill the process.
bool SharedHeap::Commit(size_t offset, size_t bytes) {
  if (bytes >= kHugeBytes) (void)madvise(base_ + offset, bytes, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
  if (madvise(base_ + offset, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
#endif
  return fallocate(file_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                   static_cast<off_t>(bytes)) == 0;
}

std::byte* SharedHeap::Allocate(size_t bytes) {
  if (bytes == 0 || bytes > bytes_ || id_.process != getpid()) return nullptr;
  const size_t size = Up(bytes, kPage), unit = bytes >= kHugeBytes ? kHugeBytes : kPage;
  size_t offset = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto fits = [&](const auto& gap) {
      return Up(gap.first, unit) + size <= gap.first + gap.second;
    };
    const auto gap = std::find_if(free_.begin(), free_.end(), fits);
    if (gap == free_.end()) return nullptr;
    const auto [begin, length] = *gap;
    offset = Up(begin, unit);
    taken_[offset] = size;
    if (offset + size < begin + length) free_[offset + size] = begin + length - offset - size;
    if (offset > begin) {
      gap->second = offset - begin;
    } else {
      free_.erase(gap);
    }
  }
  if (Commit(offset, size)) return base_ + offset;
  Free(base_ + offset);
  return nullptr;
}

// A forked child that ends as its parent would must not take the parent's pages.
void SharedHeap::Free(std::byte* block) {
  if (id_.process != getpid()) return;
  const auto offset = static_cast<size_t>(block - base_);
  std::map<size_t, size_t>::node_type freed;
  {
    const std::lock_guard lock(mutex_);
    freed = taken_.extract(offset);
  }
  const size_t size = freed.mapped();
  // The pages first: until then nobody else may get them.
  (void)fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(size));
  const std::lock_guard lock(mutex_);
  auto at = free_.insert(std::move(freed)).position;
  if (const auto next = std::next(at); next != free_.end() && next->first == offset + size) {
    at->second += next->second;
    free_.erase(next);
  }
  if (at == free_.begin()) return;
  if (const auto last = std::prev(at); last->first + last->second == offset) {
    last->second += at->second;
    free_.erase(at);
  }
}

Result<std::unique_ptr<SharedHeapView>> SharedHeapView::Open(const SharedHeapId& id) {
  const std::string path = fmt::format("/proc/{}/fd/{}", id.process, id.file);
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return Error(Code::kIo, "{} cannot be opened: {}", path, std::strerror(errno));
  struct stat state = {};
  const bool same = fstat(file, &state) == 0 && state.st_dev == id.device &&
                    state.st_ino == id.inode && static_cast<uint64_t>(state.st_size) == id.bytes;
  const std::byte* base = same ? MapAligned(file, id.bytes, PROT_READ) : nullptr;
  const int why = errno;
  close(file);
  if (!same) {
    return Error(Code::kIo, "{} is not the memory of {} bytes that process {} named", path,
                 id.bytes, id.process);
  }
  if (base == nullptr) {
    return Error(Code::kOutOfMemory, "{} of {} bytes cannot be mapped: {}", path, id.bytes,
                 std::strerror(why));
  }
  return std::unique_ptr<SharedHeapView>(new SharedHeapView(base, id.bytes));
}

SharedHeapView::~SharedHeapView() { munmap(const_cast<std::byte*>(base_), bytes_); }

}  // namespace ds::device
