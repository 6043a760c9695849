// Fills the table of operations: the plain reference first, then what this machine has better.
#include <cstdlib>

#include "kernels/ops.h"
#include "kernels/ref/ref.h"
#include "kernels/simd/simd.h"

namespace ds::kernels {
namespace {

template <typename T>
Ops Reference() {
  Ops ops = {};
  ops.name = "ref";
  ops.dtype = DTypeOf<T>();
  ref::FillElementwise<T>(ops);
  ref::FillNorm<T>(ops);
  ref::FillEmbedding<T>(ops);
  ref::FillDropout<T>(ops);
  ref::FillLoss<T>(ops);
  ref::FillAttention<T>(ops);
  ref::FillOptimizer<T>(ops);
  ref::FillUpdate<T>(ops);
  return ops;
}

simd::Rows References() { return {Reference<float>(), Reference<BF16>(), Reference<F16>()}; }

simd::Rows AtLevel(simd::Level level) {
  simd::Rows rows = References();
  rows.f32.name = rows.bf16.name = rows.f16.name = simd::LevelName(level);
  simd::FillSimd(level, rows);
  return rows;
}

const Ops& RowOf(const simd::Rows& rows, DType dtype) {
  if (dtype == DType::kF32) return rows.f32;
  return dtype == DType::kBF16 ? rows.bf16 : rows.f16;
}

}  // namespace

const Ops& RefOps(DType dtype) {
  static const simd::Rows rows = References();
  return RowOf(rows, dtype);
}

const Ops& BestOps(DType dtype) {
  static const simd::Rows rows = AtLevel(simd::BestLevel());
  return RowOf(rows, dtype);
}

const char* InstructionSet() { return simd::LevelName(simd::BestLevel()); }

Status CheckInstructionSet() {
  const char* cap = std::getenv("DS_CPU_ISA");
  if (cap == nullptr || simd::LevelOf(cap).has_value()) return {};
  return InvalidArgument("DS_CPU_ISA is \"{}\", expected ref, sse4, avx2 or avx512", cap);
}

}  // namespace ds::kernels
