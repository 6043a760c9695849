// AdamW's share of the memory bandwidth: a step over arrays far larger than the caches, against a
// plain stream that reads and writes the same arrays, in the same seconds.
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

constexpr int64_t kElements = int64_t{1} << 24;

// Reads four arrays and writes three of them: p, m, v = f(g, p, m, v). The compiler vectorises it;
// at this size nothing but the bytes counts.
void Stream(TaskPool& pool, const float* g, float* p, float* m, float* v) {
  constexpr int64_t kTile = 16384;
  pool.Run(kElements / kTile, [&](int64_t tile, int) {
    const int64_t end = (tile + 1) * kTile;
    for (int64_t i = tile * kTile; i < end; ++i) {
      const float add = g[i];
      p[i] += add;
      m[i] += add;
      v[i] += add;
    }
  });
}

void Share(int threads) {
  TaskPool pool(threads);
  Array g(pool, DType::kF32, kElements), p(pool, DType::kF32, kElements);
  Array m(pool, DType::kF32, kElements), v(pool, DType::kF32, kElements);
  Array g2(pool, DType::kF32, kElements), p2(pool, DType::kF32, kElements);
  Array m2(pool, DType::kF32, kElements), v2(pool, DType::kF32, kElements);
  for (int64_t i = 0; i < kElements; ++i) v.floats()[i] = 0.25f;
  const kernels::AdamScalars scalars = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 1.0f, 1.0f, 1.0f, true};
  const kernels::Ops& ops = kernels::BestOps(DType::kF32);
  const auto step = [&] {
    ops.adam(pool, kElements, scalars, g.data(), p.floats(), m.floats(), v.floats(), p.data());
  };
  const double ratio = MedianRatio(
      step, [&] { Stream(pool, g2.floats(), p2.floats(), m2.floats(), v2.floats()); }, 15);
  const double seconds = Seconds(step);
  std::printf("AdamW, %d threads: %.3f ns an element, %.1f GB/s, %.3f of the stream's time\n",
              threads, seconds / kElements * 1e9, 28.0 * kElements / seconds / 1e9, 1 / ratio);
  // At most 1.05 of the stream's time.
  Report("adam/fp32/" + std::to_string(threads), ratio, "stream of the same bytes", 1 / 1.05);
}

}  // namespace
}  // namespace ds::bench

int main() {
  for (const int threads : {1, 2}) ds::bench::Share(threads);
}
