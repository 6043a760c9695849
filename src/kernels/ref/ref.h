// The plain reference of every operation: serial loops in double, one rounding at the end, nothing
// clever. Right by reading; slow. The judge of the fast versions, and the last of every list.
#pragma once

#include "kernels/ops.h"

namespace ds::kernels::ref {

template <typename T>
float Load(const void* x, int64_t i) {
  return static_cast<float>(static_cast<const T*>(x)[i]);
}
template <typename T>
void Store(void* x, int64_t i, double value) {
  static_cast<T*>(x)[i] = T(static_cast<float>(value));
}

// One product, on the calling thread (kernels/gemm.h).
void GemmTile(const GemmShape& shape, const void* a, const void* b, void* c);

// Each fills its part of the row for T.
template <typename T>
void FillElementwise(Ops& ops);
template <typename T>
void FillNorm(Ops& ops);
template <typename T>
void FillEmbedding(Ops& ops);
template <typename T>
void FillDropout(Ops& ops);
template <typename T>
void FillLoss(Ops& ops);
template <typename T>
void FillAttention(Ops& ops);
template <typename T>
void FillOptimizer(Ops& ops);
template <typename T>
void FillUpdate(Ops& ops);

}  // namespace ds::kernels::ref
