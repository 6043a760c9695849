#include "matmul_speed.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/ops.h"

namespace ds::tool {

double MatmulFlops(kernels::Gemm& gemm, TaskPool& pool, DType dtype, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kSize = 768;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  std::vector<float> values(kSize * kSize);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7) - 3;
  const size_t bytes = values.size() * DTypeBytes(dtype);
  std::vector<std::byte> a(bytes), b(bytes), c(bytes);
  for (auto* matrix : {&a, &b}) {
    kernels::BestOps(dtype).from_float(pool, kSize * kSize, values.data(), matrix->data());
  }
  const kernels::GemmShape shape{.m = kSize,
                                 .n = kSize,
                                 .k = kSize,
                                 .lda = kSize,
                                 .ldb = kSize,
                                 .ldc = kSize,
                                 .in = dtype,
                                 .out = dtype};
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  double best = 0;
  for (int run = 0; run < 2 || Clock::now() < end; ++run) {
    const auto start = Clock::now();
    kernels::Matmul(gemm, pool, shape, a.data(), b.data(), c.data());
    const std::chrono::duration<double> took = Clock::now() - start;
    best = std::max(best, kFlops / took.count());
  }
  return best;
}

}  // namespace ds::tool
