// The row of a dtype at one level of instruction sets.
#pragma once

#include "kernels/simd/simd.h"

namespace ds::kernels {

inline simd::Rows RowsAt(simd::Level level) {
  simd::Rows rows = {RefOps(DType::kF32), RefOps(DType::kBF16), RefOps(DType::kF16)};
  simd::FillSimd(level, rows);
  return rows;
}

template <typename T>
Ops At(simd::Level level) {
  const simd::Rows rows = RowsAt(level);
  return DTypeOf<T>() == DType::kF32    ? rows.f32
         : DTypeOf<T>() == DType::kBF16 ? rows.bf16
                                        : rows.f16;
}

}  // namespace ds::kernels
