#include "comm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/failpoint.h"

namespace ds::comm {
namespace {

std::string FreshName() {
  static std::atomic<int> made = 0;
  std::random_device random;
  return fmt::format("/deepspeed.{}.{}.{:08x}", getpid(), made++, random());
}

}  // namespace

Result<std::shared_ptr<Segment>> Segment::Create(size_t bytes) {
  DS_FAILPOINT("comm.segment");
  std::shared_ptr<Segment> segment(new Segment(FreshName(), bytes, true));
  const char* name = segment->name_.c_str();
  const int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) {
    segment->linked_ = false;
    return Error(Code::kIo, "shared memory {} cannot be made: {}", name, std::strerror(errno));
  }
  // Asked for as a whole now: a page that is found missing later would kill the process.
  if (const int why = posix_fallocate(file, 0, static_cast<off_t>(bytes)); why != 0) {
    close(file);
    return Error(Code::kOutOfMemory, "{} bytes of shared memory (/dev/shm) cannot be had: {}",
                 bytes, std::strerror(why));
  }
  DS_TRY(segment->Map(file));
  return segment;
}

Result<std::shared_ptr<Segment>> Segment::Open(const std::string& name, size_t bytes) {
  DS_FAILPOINT("comm.segment");
  std::shared_ptr<Segment> segment(new Segment(name, bytes, false));
  const int file = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (file < 0) {
    return Error(Code::kIo, "shared memory {} cannot be opened: {}", name, std::strerror(errno));
  }
  DS_TRY(segment->Map(file));
  return segment;
}

Status Segment::Map(int file) {
  void* data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const int why = errno;
  close(file);
  if (data == MAP_FAILED) {
    return Error(Code::kOutOfMemory, "shared memory {} of {} bytes cannot be mapped: {}", name_,
                 bytes_, std::strerror(why));
  }
  data_ = static_cast<std::byte*>(data);
  return {};
}

void Segment::Unlink() {
  if (linked_) shm_unlink(name_.c_str());
  linked_ = false;
}

Segment::~Segment() {
  Unlink();
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace ds::comm
