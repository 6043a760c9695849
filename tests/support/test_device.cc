#include "support/test_device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/rng.h"

namespace ds::test {
namespace {

constexpr int kPoison = 0xFF;  // NaN as fp32, bf16, fp16 and fp64, -1 as an integer
constexpr int64_t kPage = 4096;

[[noreturn]] void Broken(const char* rule, const void* data) {
  std::fprintf(stderr, "test device: %p: %s\n", data, rule);
  std::abort();
}

std::byte* MapFile(int file, int64_t bytes, int protection) {
  void* at = mmap(nullptr, static_cast<size_t>(bytes), protection, MAP_SHARED, file, 0);
  if (at == MAP_FAILED) Broken("mmap failed", nullptr);
  return static_cast<std::byte*>(at);
}

}  // namespace

TestDevice::TestDevice(uint64_t seed, int64_t bytes) : seed_(seed), bytes_(bytes) {
  const int file = memfd_create("test device", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, bytes) != 0) Broken("memfd_create failed", nullptr);
  face_ = MapFile(file, bytes, PROT_NONE);
  back_ = MapFile(file, bytes, PROT_READ | PROT_WRITE);
  close(file);
  thread_ = std::thread([this] { Serve(); });
}

TestDevice::~TestDevice() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (const auto& [offset, block] : blocks_) {
    if (block.live) Broken("is not freed at the end", face_ + offset);
  }
  munmap(face_, static_cast<size_t>(bytes_));
  munmap(back_, static_cast<size_t>(bytes_));
}

// First fit, with a page behind each block that belongs to nobody.
std::byte* TestDevice::Allocate(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const int64_t room = (bytes + kPage - 1) / kPage * kPage + kPage;
  int64_t at = 0;
  for (const auto& [offset, block] : blocks_) {
    if (at + room <= offset) break;
    at = offset + (block.bytes + kPage - 1) / kPage * kPage + kPage;
  }
  if (at + room > bytes_) return nullptr;
  blocks_[at] = {bytes, true};
  std::memset(back_ + at, kPoison, static_cast<size_t>(bytes));
  return face_ + at;
}

void TestDevice::Free(std::byte* data) {
  const int64_t at = OffsetOf(data);
  {
    const std::lock_guard lock(mutex_);
    const auto block = at < 0 ? blocks_.end() : blocks_.find(at);
    if (block == blocks_.end() || !block->second.live) Broken("freed, and not allocated", data);
    block->second.live = false;
  }
  (void)Launch([this, at] {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(at);
    std::memset(back_ + at, kPoison, static_cast<size_t>(block->second.bytes));
    blocks_.erase(block);
    return Status();
  });
}

int64_t TestDevice::OffsetOf(const void* data) const {
  const auto at = reinterpret_cast<intptr_t>(data) - reinterpret_cast<intptr_t>(face_);
  return at >= 0 && at < bytes_ ? at : -1;
}

void* TestDevice::Seen(const void* data) const {
  const int64_t at = OffsetOf(data);
  return at < 0 ? const_cast<void*>(data) : back_ + at;
}

void* TestDevice::Map(const void* data) const {
  const int64_t at = OffsetOf(data);
  if (at < 0) Broken("a pointer of the host was given to work of the device", data);
  const std::lock_guard lock(mutex_);
  auto block = blocks_.upper_bound(at);
  if (block == blocks_.begin()) Broken("is no memory that was allocated", data);
  --block;
  // One behind the end is the place of an array without elements.
  if (!block->second.live || at > block->first + block->second.bytes) {
    Broken("is no memory that was allocated", data);
  }
  return back_ + at;
}

device::Ticket TestDevice::Launch(std::function<Status()> work) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(work));
  changed_.notify_all();
  return ++launched_;
}

device::Ticket TestDevice::last() const {
  const std::lock_guard lock(mutex_);
  return launched_;
}

Status TestDevice::Wait(device::Ticket ticket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return passed_ >= ticket; });
  return failure_;
}

void TestDevice::Serve() {
  for (uint64_t next = 0;; ++next) {
    std::function<Status()> work;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !waiting_.empty() || ending_; });
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    // Mostly at once, now and then far behind.
    const uint64_t draw = RandomBelow(seed_, 0, next, 64);
    if (draw == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    if (draw < 16) std::this_thread::yield();
    const bool dropped = [&] {
      const std::lock_guard lock(mutex_);
      return !failure_.ok();
    }();
    Status status = dropped ? Status() : work();
    work = nullptr;
    const std::lock_guard lock(mutex_);
    if (!status.ok() && failure_.ok()) failure_ = std::move(status);
    ++passed_;
    changed_.notify_all();
  }
}

namespace {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

class DeviceCommunicator final : public comm::Communicator {
 public:
  DeviceCommunicator(std::unique_ptr<Communicator> owned, Communicator& inner,
                     const TestDevice& device)
      : owned_(std::move(owned)), inner_(inner), device_(device) {}

  const char* backend() const override { return inner_.backend(); }
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  int local_size() const override { return inner_.local_size(); }
  Status AllGather(std::string_view what, ConstBytes send, Bytes recv) override {
    return inner_.AllGather(what, Seen(send), Seen(recv));
  }
  Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                       void* recv, int64_t shard, std::span<const int> slice_of) override {
    return inner_.ReduceScatter(what, dtype, scale, device_.Seen(send), device_.Seen(recv), shard,
                                slice_of);
  }
  Status AllReduce(std::string_view what, DType dtype, float scale, void* data,
                   int64_t n) override {
    return inner_.AllReduce(what, dtype, scale, device_.Seen(data), n);
  }
  Status AllReduce(std::string_view what, std::span<double> values, double scale) override {
    return inner_.AllReduce(what, values, scale);
  }
  Status Barrier(std::string_view what) override { return inner_.Barrier(what); }
  Status Broadcast(std::string_view what, int root, Bytes data) override {
    return inner_.Broadcast(what, root, Seen(data));
  }
  Status AllToAll(std::string_view what, ConstBytes send, Bytes recv) override {
    return inner_.AllToAll(what, Seen(send), Seen(recv));
  }
  Status AllToAllV(std::string_view what, ConstBytes send, std::span<const int64_t> send_bytes,
                   Bytes recv, std::span<const int64_t> recv_bytes) override {
    return inner_.AllToAllV(what, Seen(send), send_bytes, Seen(recv), recv_bytes);
  }
  Status Send(std::string_view what, int to, ConstBytes data) override {
    return inner_.Send(what, to, Seen(data));
  }
  Status Recv(std::string_view what, int from, Bytes data) override {
    return inner_.Recv(what, from, Seen(data));
  }
  Result<std::unique_ptr<Communicator>> Split(std::string_view what, int color, int key) override {
    return Wrapped(inner_.Split(what, color, key));
  }
  Result<std::unique_ptr<Communicator>> Duplicate(std::string_view what) override {
    return Wrapped(inner_.Duplicate(what));
  }
  void Abort(const Status& why) override { inner_.Abort(why); }

 private:
  template <typename Byte>
  std::span<Byte> Seen(std::span<Byte> data) const {
    return {static_cast<Byte*>(device_.Seen(data.data())), data.size()};
  }
  Result<std::unique_ptr<Communicator>> Wrapped(Result<std::unique_ptr<Communicator>> made) const {
    if (!made.ok() || *made == nullptr) return made;
    Communicator& inner = **made;
    return std::unique_ptr<Communicator>(
        std::make_unique<DeviceCommunicator>(std::move(made).Take(), inner, device_));
  }

  const std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  const TestDevice& device_;
};

}  // namespace

std::unique_ptr<comm::Communicator> OnDevice(comm::Communicator& inner, const TestDevice& device) {
  return std::make_unique<DeviceCommunicator>(nullptr, inner, device);
}

}  // namespace ds::test
