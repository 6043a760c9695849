// Matrix products: a tile of the library's own product against oneDNN's, two threads against one,
// and what a transposed B costs: with few rows, where the memory sets the time, and with some
// dozens of them in fp32, against one that lies straight.
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

// A product over the pool with weights that are in no cache: each run takes the next of several.
class Weights {
 public:
  Weights(TaskPool& pool, kernels::Gemm& gemm, DType dtype, int64_t rows, bool trans_b)
      : pool_(pool),
        gemm_(gemm),
        shape_{.m = rows,
               .n = kSide,
               .k = kSide,
               .lda = kSide,
               .ldb = kSide,
               .ldc = kSide,
               .trans_b = trans_b,
               .in = dtype,
               .out = dtype},
        a_(pool, dtype, rows * kSide),
        c_(pool, dtype, rows * kSide) {
    for (int i = 0; i < 8; ++i) b_.emplace_back(pool, dtype, kSide * kSide);
  }
  void Run() {
    for (Array& b : b_) kernels::Matmul(gemm_, pool_, shape_, a_.data(), b.data(), c_.data());
  }

 private:
  static constexpr int64_t kSide = 3072;
  TaskPool& pool_;
  kernels::Gemm& gemm_;
  const kernels::GemmShape shape_;
  Array a_, c_;
  std::vector<Array> b_;
};

void Transposed(kernels::Gemm& gemm) {
  TaskPool pool(UsableCores());
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Weights one(pool, gemm, dtype, 1, true), four(pool, gemm, dtype, 4, true);
    const double ratio = MedianRatio([&] { four.Run(); }, [&] { one.Run(); });
    Report(fmt::format("matmul/four_rows_{}_nt", DTypeName(dtype)), ratio, "one row", 0.6);
  }
  Weights straight(pool, gemm, DType::kF32, 64, false), turned(pool, gemm, DType::kF32, 64, true);
  const double ratio = MedianRatio([&] { turned.Run(); }, [&] { straight.Run(); });
  Report("matmul/64_rows_f32_nt", ratio, "64 rows, B straight", 0.75);
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
  bench::Transposed(*best);
}
