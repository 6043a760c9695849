// Places arrays in one block of memory. Run the same placement twice: over no memory to learn the
// size, then over the block. It allocates nothing and knows nothing of what the arrays hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace ds::model {

class Carver {
 public:
  // `base` null: only counts, and hands out null. Otherwise 64-byte aligned and large enough.
  Carver(std::byte* base, DType dtype)
      : base_(base), element_(static_cast<int64_t>(DTypeBytes(dtype))) {}

  void* Bytes(int64_t bytes) {
    void* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    peak_ = std::max(peak_, used_);
    return at;
  }
  void* Elements(int64_t n) { return Bytes(n * element_); }  // of the dtype
  float* Floats(int64_t n) { return static_cast<float*>(Bytes(n * int64_t{sizeof(float)})); }

  // What is not used at the same time may lie in the same place: mark, place one, rewind to the
  // mark, place the other, ..., and go on behind the largest.
  int64_t mark() const { return used_; }
  void Rewind(int64_t mark) { used_ = mark; }
  void GoBehindAll() { used_ = peak_; }

  int64_t bytes() const { return peak_; }
  bool only_counts() const { return base_ == nullptr; }

 private:
  std::byte* const base_;
  const int64_t element_;
  int64_t used_ = 0, peak_ = 0;
};

// The scratch of what runs one after the other, all of it from the same spot on; behind it nothing
// is to be placed.
class InTurn {
 public:
  InTurn(int64_t rows, bool backward, Carver& carver)
      : rows_(rows), backward_(backward), carver_(carver), mark_(carver.mark()) {}

  template <typename Part>
  void operator()(Part& part) const {
    Restart();
    part.PlanScratch(rows_, backward_, carver_);
  }
  void Restart() const { carver_.Rewind(mark_); }

 private:
  const int64_t rows_;
  const bool backward_;
  Carver& carver_;
  const int64_t mark_;
};

}  // namespace ds::model
