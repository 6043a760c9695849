#include "infer/merger.h"

#include "model/lora.h"

namespace ds::infer {

std::span<const std::byte> Merger::Merge(const model::Param& param) {
  values_.resize(static_cast<size_t>(param.spec.numel()));
  const kernels::Ops& ops = kernels::BestOps(dtype_);
  model::MergeAdapter(ops, pool_, param, values_);
  bytes_.resize(values_.size() * DTypeBytes(dtype_));
  ops.from_float(pool_, std::ssize(values_), values_.data(), bytes_.data());
  return bytes_;
}

}  // namespace ds::infer
