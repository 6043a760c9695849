// Windows: buffers that hold something for a while (gathered weights, gradients on their way to
// reduction). They are made while the program warms up and reused ever after. One thread.
#pragma once

#include <vector>

#include "device/memory.h"

namespace ds::zero {

class WindowPool {
 public:
  // `account` outlives the pool and its windows.
  explicit WindowPool(device::MemoryAccount& account) : account_(account) {}

  // The smallest free window of at least `bytes`, or a new one of just that size in place of the
  // largest free one. The contents are whatever the last user left.
  Result<device::Buffer> Take(int64_t bytes);
  void Give(device::Buffer window);

 private:
  device::MemoryAccount& account_;
  std::vector<device::Buffer> free_;  // in order of size
};

}  // namespace ds::zero
