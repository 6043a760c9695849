// Matrix products: a tile of the library's own product against oneDNN's, and two threads against
// one.
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

// One tile as Matmul cuts it.
struct TileRun {
  TileRun(TaskPool& pool, DType dtype, bool trans_a, bool trans_b)
      : shape{.m = 256,
              .n = 384,
              .k = 768,
              .lda = trans_a ? 256 : 768,
              .ldb = trans_b ? 768 : 384,
              .ldc = 384,
              .trans_a = trans_a,
              .trans_b = trans_b,
              .in = dtype,
              .out = dtype},
        a(pool, dtype, shape.m * shape.k),
        b(pool, dtype, shape.k * shape.n),
        c(pool, dtype, shape.m * shape.n) {}
  void Run(kernels::Gemm& gemm) {
    for (int i = 0; i < 20; ++i) gemm.Tile(shape, a.data(), b.data(), c.data());
  }
  double flops() const { return 20 * 2.0 * 256 * 384 * 768; }
  kernels::GemmShape shape;
  Array a, b, c;
};

void Tiles(DType dtype, kernels::Gemm& simd, kernels::Gemm& best, double goal) {
  TaskPool one(1);
  for (const auto& [trans_a, trans_b, name] :
       {std::tuple{false, false, "nn"}, {false, true, "nt"}, {true, false, "tn"}}) {
    TileRun run(one, dtype, trans_a, trans_b);
    const double ratio = MedianRatio([&] { run.Run(simd); }, [&] { run.Run(best); });
    const double rate = run.flops() / Seconds([&] { run.Run(best); });
    std::printf("%s %s tile: %s %.0f GFLOP/s\n", DTypeName(dtype), name, best.name(), rate / 1e9);
    Report(fmt::format("matmul/simd_tile_{}_{}", DTypeName(dtype), name), ratio, "oneDNN tile",
           goal);
  }
}

void Threads(DType dtype, kernels::Gemm& gemm) {
  TaskPool one(1), two(2);
  SquareProduct alone(one, gemm, dtype, 2048), shared(two, gemm, dtype, 2048);
  const double ratio = MedianRatio([&] { shared.Run(); }, [&] { alone.Run(); });
  Report(fmt::format("matmul/two_threads_{}", DTypeName(dtype)), ratio, "one thread", 1.7);
}

}  // namespace
}  // namespace ds::bench

int main() {
  using namespace ds;
  const auto best = bench::BestGemm(), simd = kernels::CreateSimdGemm();
  bench::Tiles(DType::kF32, *simd, *best, 0.6);
  bench::Tiles(DType::kBF16, *simd, *best, 0.3);
  bench::Threads(DType::kF32, *best);
  bench::Threads(DType::kBF16, *best);
}
