// Fills the table of operations: the plain reference first, then what this machine has better.
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
  ref::FillLoss<T>(ops);
  ref::FillAttention<T>(ops);
  ref::FillOptimizer<T>(ops);
  ref::FillUpdate<T>(ops);
  return ops;
}

struct Table {
  Ops f32 = Reference<float>();
  Ops bf16 = Reference<BF16>();

  const Ops& Row(DType dtype) const { return dtype == DType::kF32 ? f32 : bf16; }
};

Table AtLevel(simd::Level level) {
  Table table;
  table.f32.name = table.bf16.name = simd::LevelName(level);
  simd::FillSimd(level, table.f32, table.bf16);
  return table;
}

}  // namespace

const Ops& RefOps(DType dtype) {
  static const Table table;
  return table.Row(dtype);
}

const Ops& BestOps(DType dtype) {
  static const Table table = AtLevel(simd::BestLevel());
  return table.Row(dtype);
}

const char* InstructionSet() { return simd::LevelName(simd::BestLevel()); }

}  // namespace ds::kernels
