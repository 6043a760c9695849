#include "device/lane.h"

#include <cstddef>
#include <cstring>
#include <vector>

namespace ds::device {

void Lane::Zero(void* data, int64_t bytes) const {
  if (bytes == 0) return;
  const auto size = static_cast<size_t>(bytes);
  if (at_once()) return void(std::memset(data, 0, size));
  (void)queue_->Launch([to = queue_->Map(data), size] {
    std::memset(to, 0, size);
    return Status();
  });
}

void Lane::Copy(void* to, const void* from, int64_t bytes) const {
  if (bytes == 0) return;
  const auto size = static_cast<size_t>(bytes);
  if (at_once()) return void(std::memcpy(to, from, size));
  (void)queue_->Launch([to = queue_->Map(to), from = queue_->Map(from), size] {
    std::memcpy(to, from, size);
    return Status();
  });
}

void Lane::Upload(void* to, const void* from, int64_t bytes) const {
  if (bytes == 0) return;
  const auto size = static_cast<size_t>(bytes);
  if (at_once()) return void(std::memcpy(to, from, size));
  const auto* first = static_cast<const std::byte*>(from);
  (void)queue_->Launch([to = queue_->Map(to), kept = std::vector(first, first + size)] {
    std::memcpy(to, kept.data(), kept.size());
    return Status();
  });
}

Status Lane::Download(void* to, const void* from, int64_t bytes) const {
  if (bytes == 0) return {};
  const auto size = static_cast<size_t>(bytes);
  if (at_once()) {
    std::memcpy(to, from, size);
    return {};
  }
  return queue_->Wait(queue_->Launch([to, from = queue_->Map(from), size] {
    std::memcpy(to, from, size);
    return Status();
  }));
}

Status Lane::After(Stream& stream, Ticket ticket) const {
  if (at_once()) return stream.Wait(ticket);
  (void)queue_->Launch([&stream, ticket] { return stream.Wait(ticket); });
  return {};
}

void Lane::Before(Stream& stream) const {
  if (at_once()) return;
  (void)stream.Launch(
      {[](void* queue, int64_t ticket, void*) { return static_cast<Queue*>(queue)->Wait(ticket); },
       queue_, queue_->last()});
}

}  // namespace ds::device
