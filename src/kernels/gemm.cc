#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/simd/few_rows.h"
#include "kernels/simd/simd.h"

namespace ds::kernels {
namespace {

using simd::CeilDiv;
using simd::RoundUp;

// Tiles that fit the second-level cache with their slices of A and B, and enough of them to share.
constexpr int64_t kTileRows = 256, kTileRowBytes = 1536;  // of a row of B
constexpr int64_t kEnoughTiles = 8, kEnoughWholeRows = 4;

// Cuts n into `parts` equal parts, in multiples of `unit`.
int64_t EvenTile(int64_t n, int64_t parts, int64_t unit) {
  return std::min(n, RoundUp(CeilDiv(n, parts), unit));
}

struct TileShape {
  int64_t rows, columns;
};

// 48 columns are what the inner loop of oneDNN goes by.
TileShape TileOf(const GemmShape& shape, Cut cut, int64_t enough) {
  const int64_t m = shape.m, n = shape.n;
  const int64_t most = kTileRowBytes / static_cast<int64_t>(DTypeBytes(shape.in));
  if (cut == Cut::kRows) enough = std::min(enough, kEnoughWholeRows);
  int64_t down = CeilDiv(m, kTileRows), across = cut == Cut::kColumnsFirst ? CeilDiv(n, most) : 1;
  // Two for three: two cores then have as many rows each, and those that they have of the arrays
  // that are not cut into tiles.
  if (down == 3 && down * across < enough) down = 2;
  TileShape tile = {EvenTile(m, down, 16), EvenTile(n, across, 64)};
  while (CeilDiv(m, tile.rows) * CeilDiv(n, tile.columns) < enough) {
    const bool rows = tile.rows >= 128, columns = tile.columns >= 192 && cut != Cut::kRows;
    if (columns && (cut == Cut::kColumnsFirst || !rows)) {
      tile.columns = EvenTile(n, CeilDiv(n, tile.columns / 2), 48);
    } else if (rows) {
      tile.rows = EvenTile(m, CeilDiv(m, tile.rows / 2), 16);
    } else {
      break;
    }
  }
  return tile;
}

// The tiles of each run of `depth` of the inner dimension, runs one behind the other; each run has
// a C of its own.
void RunTiles(TaskPool& pool, Gemm& gemm, const GemmShape& shape, int64_t parts, int64_t depth,
              const void* a, const void* b, void* c) {
  const auto [rows, columns] = TileOf(shape, gemm.BestCut(shape), CeilDiv(kEnoughTiles, parts));
  const int64_t across = CeilDiv(shape.n, columns), each = across * CeilDiv(shape.m, rows);
  const int64_t in_bytes = DTypeBytes(shape.in), out_bytes = DTypeBytes(shape.out);
  // Named once more: a binding by itself is nothing that Clang 14 captures.
  pool.Run(each * parts, [&, rows = rows, columns = columns](int64_t index, int) {
    const int64_t part = index / each, tile = index % each;
    const int64_t row = tile / across * rows, column = tile % across * columns;
    const int64_t from = std::min(part * depth, shape.k);
    GemmShape of = shape;
    of.m = std::min(rows, shape.m - row);
    of.n = std::min(columns, shape.n - column);
    of.k = std::min(depth, shape.k - from);
    const int64_t a_at = shape.trans_a ? from * shape.lda + row : row * shape.lda + from;
    const int64_t b_at = shape.trans_b ? column * shape.ldb + from : from * shape.ldb + column;
    const int64_t c_at = (part * shape.m + row) * shape.ldc + column;
    gemm.Tile(of, static_cast<const std::byte*>(a) + a_at * in_bytes,
              static_cast<const std::byte*>(b) + b_at * in_bytes,
              static_cast<std::byte*>(c) + c_at * out_bytes);
  });
}

void OnPool(TaskPool& pool, Gemm& gemm, const GemmShape& shape, const void* a, const void* b,
            void* c) {
  if (shape.m == 0 || shape.n == 0) return;
  if (const simd::FewRowsFn product = simd::FewRows(shape); product != nullptr) {
    return product(pool, shape, a, b, c);
  }
  RunTiles(pool, gemm, shape, /*parts=*/1, shape.k, a, b, c);
}

void PartsOnPool(TaskPool& pool, Gemm& gemm, const GemmShape& shape, int64_t parts, const void* a,
                 const void* b, float* c) {
  if (shape.m == 0 || shape.n == 0) return;
  GemmShape of = shape;
  of.ldc = shape.n;
  of.out = DType::kF32;
  of.accumulate = false;
  RunTiles(pool, gemm, of, parts, RoundUp(CeilDiv(shape.k, parts), 16), a, b, c);
}

}  // namespace

void Matmul(Gemm& gemm, const device::Lane& lane, const GemmShape& shape, const void* a,
            const void* b, void* c) {
  lane.Run(OnPool, gemm, shape, a, b, c);
}

void MatmulInParts(Gemm& gemm, const device::Lane& lane, const GemmShape& shape, int64_t parts,
                   const void* a, const void* b, float* c) {
  lane.Run(PartsOnPool, gemm, shape, parts, a, b, c);
}

}  // namespace ds::kernels
