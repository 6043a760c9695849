#include <vector>

#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/embedding.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

#ifndef DS_KERNELS_SIMD_EMBEDDING_ONCE
#define DS_KERNELS_SIMD_EMBEDDING_ONCE
namespace ds::kernels::simd {

// The rows of each id, in order: a counting sort. Kept by each thread, for it grows with the batch
// and the vocabulary.
struct RowsById {
  std::vector<int32_t> rows;    // sorted by id, in their order within an id
  std::vector<int32_t> starts;  // rows of id v: [starts[v], starts[v + 1])
  std::vector<int32_t> ids;     // those that occur, ascending

  void Sort(int64_t count, int64_t vocab, const int32_t* id) {
    rows.resize(count);
    starts.assign(vocab + 2, 0);
    ids.clear();
    for (int64_t r = 0; r < count; ++r) ++starts[id[r] + 2];
    for (int64_t v = 0; v < vocab; ++v) {
      if (starts[v + 2] > 0) ids.push_back(static_cast<int32_t>(v));
      starts[v + 2] += starts[v + 1];
    }
    for (int64_t r = 0; r < count; ++r) rows[starts[id[r] + 1]++] = static_cast<int32_t>(r);
  }
};

}  // namespace ds::kernels::simd
#endif

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

template <typename T>
void Forward(TaskPool& pool, int64_t rows, int64_t tokens, int64_t width, const int32_t* ids,
             const void* wte_, const void* wpe_, void* y_) {
  const T *wte = static_cast<const T*>(wte_), *wpe = static_cast<const T*>(wpe_);
  T* y = static_cast<T*>(y_);
  const int64_t step = TileRows(width);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      Map(
          width, y + r * width, [](VF a, VF b) HWY_ATTR { return a + b; }, wte + ids[r] * width,
          wpe + r % tokens * width);
    }
  });
}

// out (+)= the sum of `count` rows of dy, kColumns columns at a time.
template <typename T, typename Row>
HWY_INLINE void SumRows(int64_t count, int64_t width, bool accumulate, const Row& row, T* out) {
  alignas(64) float sums[kColumns];
  for (int64_t at = 0; at < width; at += kColumns) {
    const int64_t columns = std::min(kColumns, width - at);
    SumColumns(
        count, columns, [&](int64_t i) { return row(i) + at; }, sums);
    StoreSums(columns, accumulate, sums, out + at);
  }
}

template <typename T>
void Backward(TaskPool& pool, int64_t rows, int64_t tokens, int64_t width, int64_t vocab,
              bool accumulate_wpe, const int32_t* ids, const void* dy_, void* dwte_, void* dwpe_) {
  const T* dy = static_cast<const T*>(dy_);
  T *dwte = static_cast<T*>(dwte_), *dwpe = static_cast<T*>(dwpe_);
  thread_local RowsById sorted;
  sorted.Sort(rows, vocab, ids);
  const RowsById& by_id = sorted;  // not the thread's own, in the tiles
  // An id a tile and column block: a text has few ids with most of the rows.
  const int64_t across = std::max<int64_t>(1, CeilDiv(width, kColumns));
  pool.Run(static_cast<int64_t>(by_id.ids.size()) * across, [&](int64_t tile, int) HWY_ATTR {
    const int64_t id = by_id.ids[tile / across], at = tile % across * kColumns;
    const int32_t* row = by_id.rows.data() + by_id.starts[id];
    SumRows(
        by_id.starts[id + 1] - by_id.starts[id], std::min(kColumns, width - at), true,
        [&](int64_t i) { return dy + row[i] * width + at; }, dwte + id * width + at);
  });
  pool.Run(tokens, [&](int64_t t, int) HWY_ATTR {
    SumRows(
        std::max<int64_t>(0, CeilDiv(rows - t, tokens)), width, accumulate_wpe,
        [&](int64_t i) { return dy + (t + i * tokens) * width; }, dwpe + t * width);
  });
}

template <typename T>
void FillRow(Ops& ops) {
  ops.embedding_forward = Forward<T>;
  ops.embedding_backward = Backward<T>;
}

}  // namespace

void EmbeddingRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillEmbedding(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, EmbeddingRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
