#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/simd/few_rows.h"

namespace ds::kernels {
namespace {

// Tiles that fit the second-level cache with their slices of A and B, and enough of them to share.
constexpr int64_t kTileRows = 256, kTileColumns = 384;
constexpr int64_t kEnoughTiles = 16;

// Cuts n into equal parts of at most `most`, in multiples of `unit`.
int64_t EvenTile(int64_t n, int64_t most, int64_t unit) {
  const int64_t parts = (n + most - 1) / most;
  const int64_t even = (n + parts - 1) / parts;
  return std::min(n, (even + unit - 1) / unit * unit);
}

void OnPool(TaskPool& pool, Gemm& gemm, const GemmShape& shape, const void* a, const void* b,
            void* c) {
  if (shape.m == 0 || shape.n == 0) return;
  if (shape.m <= simd::kFewRows && shape.k > 0) {
    if (const simd::FewRowsFn product = simd::FewRows(); product != nullptr) {
      return product(pool, shape, a, b, c);
    }
  }
  const int64_t columns = EvenTile(shape.n, kTileColumns, 64);
  const int64_t across = (shape.n + columns - 1) / columns;
  int64_t rows = EvenTile(shape.m, kTileRows, 16);
  while (rows >= 128 && across * ((shape.m + rows - 1) / rows) < kEnoughTiles) {
    rows = EvenTile(shape.m, rows / 2, 16);
  }
  const int64_t down = (shape.m + rows - 1) / rows;
  const int64_t in_bytes = DTypeBytes(shape.in), out_bytes = DTypeBytes(shape.out);
  pool.Run(across * down, [&](int64_t tile, int) {
    const int64_t row = tile % down * rows, column = tile / down * columns;
    GemmShape part = shape;
    part.m = std::min(rows, shape.m - row);
    part.n = std::min(columns, shape.n - column);
    const int64_t a_at = shape.trans_a ? row : row * shape.lda;
    const int64_t b_at = shape.trans_b ? column * shape.ldb : column;
    gemm.Tile(part, static_cast<const std::byte*>(a) + a_at * in_bytes,
              static_cast<const std::byte*>(b) + b_at * in_bytes,
              static_cast<std::byte*>(c) + (row * shape.ldc + column) * out_bytes);
  });
}

}  // namespace

void Matmul(Gemm& gemm, const device::Lane& lane, const GemmShape& shape, const void* a,
            const void* b, void* c) {
  lane.Run(OnPool, gemm, shape, a, b, c);
}

}  // namespace ds::kernels
