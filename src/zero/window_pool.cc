#include "zero/window_pool.h"

#include <algorithm>
#include <utility>

namespace ds::zero {
namespace {

bool Smaller(const device::Buffer& buffer, int64_t bytes) { return buffer.bytes() < bytes; }

}  // namespace

Result<device::Buffer> WindowPool::Take(int64_t bytes) {
  const auto it = std::lower_bound(free_.begin(), free_.end(), bytes, Smaller);
  if (it == free_.end()) {
    // One that is too small gives way, or windows of every size that ever was would add up.
    if (!free_.empty()) free_.pop_back();
    return device::Buffer::Create(account_, device::MemoryKind::kWindows, bytes);
  }
  device::Buffer window = std::move(*it);
  free_.erase(it);
  return window;
}

void WindowPool::Give(device::Buffer window) {
  if (window.bytes() == 0) return;
  const auto it = std::lower_bound(free_.begin(), free_.end(), window.bytes(), Smaller);
  free_.insert(it, std::move(window));
}

}  // namespace ds::zero
