#include "infer/merger.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "checkpoint/hf_folder.h"
#include "infer/model_folder.h"
#include "model/lora.h"

namespace ds::infer {
namespace {

using model::Param;

constexpr int64_t kPiece = int64_t{4} << 20;  // elements of a tensor at a time

Result<std::vector<float>> ReadAll(const ParamValues& values) {
  std::vector<float> all(static_cast<size_t>(values.size()));
  DS_TRY(values.Write(0, all));
  return all;
}

// The parameters of a place, one by one.
class MergedValues {
 public:
  MergedValues(const std::string& folder, const FolderValues& base, const AdapterFolder& adapters,
               DType dtype, TaskPool& pool)
      : folder_(folder), base_(base), adapters_(adapters), dtype_(dtype), pool_(pool) {}

  Status Hand(const Param& param, checkpoint::ByteSink sink) {
    DS_ASSIGN(const ParamValues base, adapters_.Has(param) ? adapters_(param) : base_(param));
    std::optional<model::LoraDelta> delta;
    if (param.adapter != nullptr) {
      DS_ASSIGN(const ParamValues a, adapters_(*param.adapter->a));
      DS_ASSIGN(const ParamValues b, adapters_(*param.adapter->b));
      DS_ASSIGN(std::vector<float> all_a, ReadAll(a));
      DS_ASSIGN(std::vector<float> all_b, ReadAll(b));
      delta.emplace(*param.adapter, std::move(all_a), std::move(all_b));
    }
    const kernels::Ops& ops = kernels::BestOps(dtype_);
    const int64_t numel = param.spec.numel(), row = numel / param.spec.shape[0];
    const int64_t rows = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, row));
    for (int64_t begin = 0; begin < numel; begin += rows * row) {
      const int64_t count = std::min(rows * row, numel - begin);
      values_.resize(static_cast<size_t>(count));
      DS_TRY(base.Write(begin, values_));
      if (delta.has_value()) delta->AddTo(pool_, begin / row, values_);
      bytes_.resize(values_.size() * DTypeBytes(dtype_));
      ops.from_float(pool_, count, values_.data(), bytes_.data());
      if (!std::isfinite(kernels::SumOfSquares(ops, pool_, count, bytes_.data()))) {
        return Error(Code::kCorruptData,
                     "{}: tensor {} would have values that are not finite in {}", folder_,
                     param.spec.name, DTypeName(dtype_));
      }
      DS_TRY(sink(bytes_));
    }
    return {};
  }

 private:
  const std::string& folder_;  // that is written
  const FolderValues& base_;
  const AdapterFolder& adapters_;
  const DType dtype_;
  TaskPool& pool_;
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

}  // namespace

std::span<const std::byte> Merger::Merge(const Param& param) {
  const kernels::Ops& ops = kernels::BestOps(dtype_);
  const auto floats = [&](const Param& from) {
    std::vector<float> values(static_cast<size_t>(from.spec.numel()));
    ops.to_float(pool_, std::ssize(values), from.data, values.data());
    return values;
  };
  const model::LoraDelta delta(*param.adapter, floats(*param.adapter->a),
                               floats(*param.adapter->b));
  values_.resize(static_cast<size_t>(param.spec.numel()));
  ops.to_float(pool_, std::ssize(values_), param.data, values_.data());
  delta.AddTo(pool_, 0, values_);
  bytes_.resize(values_.size() * DTypeBytes(dtype_));
  ops.from_float(pool_, std::ssize(values_), values_.data(), bytes_.data());
  return bytes_;
}

Status SaveMerged(const std::string& folder, const ModelPlace& place, const model::Model& model,
                  DType dtype, TaskPool& pool, FunctionRef<Status(FolderChange&)> beside) {
  if (!place.adapters.has_value()) return InvalidState("{}: no adapters to merge", folder);
  DS_TRY(place.adapters->CheckNames(model));
  DS_ASSIGN(const FolderValues base, FolderValues::Open(place.base, model));
  std::vector<const Param*> params;
  checkpoint::HfModel hf{.config_json = model.HfConfig(dtype), .dtype = dtype, .tensors = {}};
  for (const Param* param : model.params()) {
    if (model::IsLora(param->spec.name)) continue;
    params.push_back(param);
    hf.tensors.push_back({param->spec.name, "", param->spec.shape});
  }
  MergedValues values(folder, base, *place.adapters, dtype, pool);
  return checkpoint::WriteHfFolder(
      folder, hf, /*write=*/true,
      [&](size_t index, checkpoint::ByteSink sink) { return values.Hand(*params[index], sink); },
      beside);
}

}  // namespace ds::infer
