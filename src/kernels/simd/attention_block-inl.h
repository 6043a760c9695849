// A block of queries against a block of keys: where attention keeps it, and the products of it, by
// the matrix back end or in tiles of its own. Each target compiles them anew.
#ifndef DS_KERNELS_SIMD_ATTENTION_BLOCK_ONCE
#define DS_KERNELS_SIMD_ATTENTION_BLOCK_ONCE

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/dropout.h"
#include "kernels/gemm.h"
#include "kernels/simd/simd.h"

namespace ds::kernels::simd {

// What a block leaves above the diagonal grows with kQueries, the share of packing in a product
// with 1 / kQueries; kKeys scores of kQueries rows stay in the second-level cache.
constexpr int64_t kQueries = 64, kKeys = 256;
// Tokens of a sequence from which on 16-bit products pay.
constexpr int64_t kManyTokens = 160;

// One head of one sequence.
struct Head {
  Gemm& gemm;
  DType dtype;
  int64_t dim, stride;       // elements of a row, and between the rows of consecutive tokens in qkv
  const int32_t* first_key;  // of each query of the sequence; null: 0
  Dropout dropout;           // its row 0 is query 0 of the head
  int64_t tokens;            // of the sequence

  // Where the keys of a block of queries begin: on a border of blocks.
  int64_t FirstKey(int64_t query) const {
    return first_key == nullptr ? 0 : first_key[query] / kKeys * kKeys;
  }
  // What a query sees of the `keys` keys from `key` on, as columns [begin, end).
  int64_t SeenBegin(int64_t query, int64_t key) const {
    return first_key == nullptr ? 0 : std::max<int64_t>(0, first_key[query] - key);
  }
};

// Queries [first, first + rows) and keys [key, key + keys), of which some query sees the last.
struct Block {
  int64_t first, rows, key, keys;
};

// Scratch of a lane: scores and their gradients, both as the products take them (fp32 only where
// dropout needs a second array), sums of a block of queries, those of all keys, and the operands of
// a block. Rows of a head are `row` floats, so that each begins on a vector.
struct AttentionScratch {
  int64_t row;
  float *scores, *dscores, *sums, *dk, *dv;
  void* narrow;
  float *query_rows[2], *key_rows[2], *key_columns[2];  // q, dout; k, v; k, v

  static constexpr int64_t kRowStep = 16;  // floats of the widest vector

  static int64_t Row(int64_t dim) { return RoundUp(dim, kRowStep); }
  static int64_t Bytes(int64_t tokens, int64_t dim) {
    const int64_t rows = 3 * kQueries + 4 * kKeys + 2 * (tokens + kRowStep);
    return (3 * kQueries * kKeys + rows * Row(dim)) * 4;
  }
  AttentionScratch(void* base, int lane, int64_t tokens, int64_t dim) : row(Row(dim)) {
    scores = reinterpret_cast<float*>(static_cast<char*>(base) + lane * Bytes(tokens, dim));
    dscores = scores + kQueries * kKeys;
    narrow = dscores + kQueries * kKeys;
    sums = dscores + 2 * kQueries * kKeys;
    dk = sums + kQueries * row;
    dv = dk + (tokens + kRowStep) * row;
    float* next = dv + (tokens + kRowStep) * row;
    for (float*& rows : query_rows) rows = std::exchange(next, next + kQueries * row);
    for (float*& rows : key_rows) rows = std::exchange(next, next + kKeys * row);
    for (float*& columns : key_columns) columns = std::exchange(next, next + kKeys * row);
  }
};

inline int64_t ScratchBytes(const TaskPool& pool, int64_t tokens, int64_t dim) {
  return pool.threads() * AttentionScratch::Bytes(tokens, dim);
}

}  // namespace ds::kernels::simd
#endif

#if defined(DS_KERNELS_SIMD_ATTENTION_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DS_KERNELS_SIMD_ATTENTION_BLOCK_INL_H_
#undef DS_KERNELS_SIMD_ATTENTION_BLOCK_INL_H_
#else
#define DS_KERNELS_SIMD_ATTENTION_BLOCK_INL_H_
#endif

#include "kernels/simd/head_product-inl.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

// The products of a block, by the matrix back end. Operands are rows of q or dout (`of` 0 or 1),
// and of k or v (0 or 1); scores have rows of kKeys, of which each query needs `Width` columns:
// those behind are not touched. Sums have rows of scratch.row. P is what probabilities are
// multiplied as.
template <typename T>
class GemmProducts {
 public:
  using P = T;
  struct Rows {
    const T* at;
    int64_t stride;
  };
  using Columns = Rows;

  GemmProducts(const Head& head, const AttentionScratch& scratch)
      : head_(head), row_(scratch.row) {}

  static Rows QueryRows(int, const Block&, const T* x, int64_t stride) { return {x, stride}; }
  Rows KeyRows(int, const Block&, const T* x) const { return {x, head_.stride}; }
  static Columns KeyColumns(int, const Block&, const Rows& rows) { return rows; }
  static int64_t Width(const Block& block, int64_t) { return block.keys; }

  // s[rows, keys] = q k^T
  void Scores(const Block& block, const Rows& q, const Columns& k, float* s) const {
    head_.gemm.Tile({.m = block.rows,
                     .n = block.keys,
                     .k = head_.dim,
                     .lda = q.stride,
                     .ldb = k.stride,
                     .ldc = kKeys,
                     .trans_b = true,
                     .in = head_.dtype},
                    q.at, k.at, s);
  }
  // sums[rows, dim] (+)= p x
  void Weighted(const Block& block, bool accumulate, const T* p, const Rows& x, float* sums) const {
    head_.gemm.Tile({.m = block.rows,
                     .n = head_.dim,
                     .k = block.keys,
                     .lda = kKeys,
                     .ldb = x.stride,
                     .ldc = row_,
                     .accumulate = accumulate,
                     .in = head_.dtype},
                    p, x.at, sums);
  }
  // sums[keys, dim] += p^T x
  void Collected(const Block& block, const T* p, const Rows& x, float* sums) const {
    head_.gemm.Tile({.m = block.keys,
                     .n = head_.dim,
                     .k = block.rows,
                     .lda = kKeys,
                     .ldb = x.stride,
                     .ldc = row_,
                     .trans_a = true,
                     .accumulate = true,
                     .in = head_.dtype},
                    p, x.at, sums);
  }

 private:
  const Head& head_;
  const int64_t row_;
};

// A tile of kTileRows rows of each of the three products. Functions, for each is in many of those
// below.
HWY_NOINLINE void ScoreTile(int64_t columns, int64_t depth, const float* q, int64_t q_row,
                            const float* k, float* s) {
  SumRows(columns, depth, false, {q, q_row, 1}, k, 2 * kLanes, s, kKeys);
}
HWY_NOINLINE void WeightedTile(int64_t width, int64_t depth, bool accumulate, const float* p,
                               const float* x, float* sums, int64_t row) {
  SumRows(width, depth, accumulate, {p, kKeys, 1}, x, width, sums, row);
}
HWY_NOINLINE void CollectedTile(int64_t width, int64_t depth, const float* p, const float* x,
                                float* sums, int64_t row) {
  SumRows(width, depth, true, {p, 1, kKeys}, x, width, sums, row);
}

// The same in fp32, in tiles of kTileRows rows: what lies above the diagonal is left out but for
// the rest of a tile.
template <typename T>
class TileProducts {
 public:
  using P = float;
  using Rows = const float*;     // compact
  using Columns = const float*;  // transposed, in panels

  TileProducts(const Head& head, const AttentionScratch& scratch)
      : head_(head), scratch_(scratch), width_(RoundUp(head.dim, kLanes)) {}

  Rows QueryRows(int of, const Block& block, const T* x, int64_t stride) const {
    Compact(block.rows, head_.dim, x, stride, scratch_.query_rows[of]);
    return scratch_.query_rows[of];
  }
  Rows KeyRows(int of, const Block& block, const T* x) const {
    Compact(block.keys, head_.dim, x, head_.stride, scratch_.key_rows[of]);
    return scratch_.key_rows[of];
  }
  Columns KeyColumns(int of, const Block& block, Rows rows) const {
    Transpose(RoundUp(block.keys, kTileStep), width_, rows, scratch_.key_columns[of]);
    return scratch_.key_columns[of];
  }
  static int64_t Width(const Block& block, int64_t r) {
    return RoundUp(Depth(block, r / kTileRows * kTileRows), kTileStep);
  }

  void Scores(const Block& block, Rows q, Columns k, float* s) const {
    constexpr int64_t panel = 2 * kLanes;
    for (int64_t c = 0; c < block.keys; c += panel, k += panel * width_) {
      for (int64_t r = 0; r < block.rows; r += kTileRows) {
        const int64_t columns = std::min(panel, Width(block, r) - c);
        if (columns <= 0) continue;
        ScoreTile(columns, head_.dim, q + r * width_, width_, k, s + r * kKeys + c);
      }
    }
  }
  void Weighted(const Block& block, bool accumulate, const float* p, Rows x, float* sums) const {
    for (int64_t r = 0; r < block.rows; r += kTileRows) {
      WeightedTile(width_, Depth(block, r), accumulate, p + r * kKeys, x, sums + r * scratch_.row,
                   scratch_.row);
    }
  }
  void Collected(const Block& block, const float* p, Rows x, float* sums) const {
    for (int64_t c = 0; c < block.keys; c += kTileRows) {
      const int64_t r = std::max<int64_t>(0, block.key + c - block.first);  // the first to see c
      CollectedTile(width_, block.rows - r, p + r * kKeys + c, x + r * width_,
                    sums + c * scratch_.row, scratch_.row);
    }
  }

 private:
  // Keys that the tile of rows from r on sees.
  static int64_t Depth(const Block& block, int64_t r) {
    return std::min(block.keys, block.first + r + kTileRows - block.key);
  }

  const Head& head_;
  const AttentionScratch& scratch_;
  const int64_t width_;
};
static_assert(kQueries % kTileRows == 0 && kKeys % kQueries == 0);

}  // namespace
}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
