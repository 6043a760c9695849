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
void Forward(TaskPool& pool, int64_t rows, int64_t width, const int32_t* ids,
             const int32_t* positions, const void* wte_, const void* wpe_, void* y_) {
  const T *wte = static_cast<const T*>(wte_), *wpe = static_cast<const T*>(wpe_);
  T* y = static_cast<T*>(y_);
  const int64_t step = TileRows(width);
  pool.Run(CeilDiv(rows, step), [&](int64_t tile, int) HWY_ATTR {
    for (int64_t r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      const T* token = wte + ids[r] * width;
      if (wpe == nullptr) {
        std::memcpy(static_cast<void*>(y + r * width), token, width * sizeof(T));
        continue;
      }
      Map(
          width, y + r * width, [](VF a, VF b) HWY_ATTR { return a + b; }, token,
          wpe + positions[r] * width);
    }
  });
}

template <typename T>
void Backward(TaskPool& pool, int64_t rows, int64_t width, int64_t vocab, const int32_t* ids,
              const void* dy_, void* dw_) {
  const T* dy = static_cast<const T*>(dy_);
  T* dw = static_cast<T*>(dw_);
  thread_local RowsById sorted;
  sorted.Sort(rows, vocab, ids);
  const RowsById& by_id = sorted;  // not the thread's own, in the tiles
  // An id a tile and column block: a text has few ids with most of the rows.
  const int64_t across = std::max<int64_t>(1, CeilDiv(width, kColumns));
  pool.Run(static_cast<int64_t>(by_id.ids.size()) * across, [&](int64_t tile, int) HWY_ATTR {
    alignas(64) float sums[kColumns];
    const int64_t id = by_id.ids[tile / across], at = tile % across * kColumns;
    const int64_t columns = std::min(kColumns, width - at);
    const int32_t* row = by_id.rows.data() + by_id.starts[id];
    SumColumns(
        by_id.starts[id + 1] - by_id.starts[id], columns,
        [&](int64_t i) { return dy + row[i] * width + at; }, sums);
    StoreSums(columns, /*accumulate=*/true, sums, dw + id * width + at);
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
