// What several benchmarks stand on: the best matrix product of this machine, a pool over its cores,
// and arrays in memory that was touched.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

#include "base/host.h"
#include "base/task_pool.h"
#include "device/memory.h"
#include "kernels/gemm.h"
#include "kernels/ops.h"
#include "ratio.h"

namespace ds::bench {

inline void Check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

template <typename T>
T Take(Result<T> result) {
  Check(result.status());
  return std::move(result).Take();
}

inline std::unique_ptr<kernels::Gemm> BestGemm() {
  auto loaded = kernels::LoadOneDnnGemm();
  if (loaded.ok()) return std::move(loaded).Take();
  std::fprintf(stderr, "the library's own product: %s\n", loaded.status().message().c_str());
  return kernels::CreateSimdGemm();
}

// n elements of `dtype`, uniform in [-0.5, 0.5): real values, for zeros are cheaper to multiply.
class Array {
 public:
  Array(TaskPool& pool, DType dtype, int64_t n) {
    buffer_ = Allocate(n * static_cast<int64_t>(DTypeBytes(dtype)));
    device::Buffer values = Allocate(n * 4);
    auto* wide = reinterpret_cast<float*>(values.data());
    uint32_t state = 1;
    for (int64_t i = 0; i < n; ++i) {
      state = state * 1664525 + 1013904223;
      wide[i] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    kernels::BestOps(dtype).from_float(pool, n, wide, buffer_.data());
  }
  void* data() { return buffer_.data(); }
  float* floats() { return reinterpret_cast<float*>(buffer_.data()); }

 private:
  static device::Buffer Allocate(int64_t bytes) {
    static device::MemoryAccount account;
    return bench::Take(device::Buffer::Create(account, device::MemoryKind::kScratch, bytes));
  }
  device::Buffer buffer_;
};

// C = A B of n x n matrices, over the pool.
class SquareProduct {
 public:
  SquareProduct(TaskPool& pool, kernels::Gemm& gemm, DType dtype, int64_t n)
      : pool_(pool),
        gemm_(gemm),
        shape_{.m = n, .n = n, .k = n, .lda = n, .ldb = n, .ldc = n, .in = dtype, .out = dtype},
        a_(pool, dtype, n * n),
        b_(pool, dtype, n * n),
        c_(pool, dtype, n * n) {}

  void Run() { kernels::Matmul(gemm_, pool_, shape_, a_.data(), b_.data(), c_.data()); }
  double flops() const {
    return 2.0 * static_cast<double>(shape_.m) * static_cast<double>(shape_.n) *
           static_cast<double>(shape_.k);
  }

 private:
  TaskPool& pool_;
  kernels::Gemm& gemm_;
  const kernels::GemmShape shape_;
  Array a_, b_, c_;
};

// The best rate of large products, in FLOP a second. Rows of 1152 do not meet in the same sets of a
// cache, as those of powers of two do.
class PeakProduct {
 public:
  PeakProduct(TaskPool& pool, kernels::Gemm& gemm, DType dtype)
      : products_{SquareProduct(pool, gemm, dtype, 1024), SquareProduct(pool, gemm, dtype, 1152),
                  SquareProduct(pool, gemm, dtype, 1536), SquareProduct(pool, gemm, dtype, 2048)} {}

  double Rate() {
    double best = 0;
    for (SquareProduct& product : products_) {
      best = std::max(best, product.flops() / Seconds([&] { product.Run(); }));
    }
    return best;
  }

 private:
  std::array<SquareProduct, 4> products_;
};

}  // namespace ds::bench
