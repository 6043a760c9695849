#include "infer/unit_walk.h"

namespace ds::infer {

using model::Param;

UnitWalk::UnitWalk(ParamStore& store, model::ParamList params, bool (*wanted)(const Param& param))
    : store_(store), params_(params) {
  for (size_t i = 0; i < params.size(); ++i) {
    if (wanted(*params[i])) wanted_.push_back(i);
  }
}

std::vector<checkpoint::TensorInfo> UnitWalk::Tensors(std::string (*name)(std::string_view)) const {
  std::vector<checkpoint::TensorInfo> tensors;
  for (const size_t i : wanted_) {
    const ParamSpec& spec = params_[i]->spec;
    tensors.push_back({name == nullptr ? spec.name : name(spec.name), "", spec.shape});
  }
  return tensors;
}

Status UnitWalk::Hand(size_t index, BytesOfParam bytes_of, checkpoint::ByteSink sink) {
  const size_t at = wanted_[index];
  const std::string& name = params_[at]->spec.unit;
  if (at >= unit_end_) {
    size_t first = at;
    while (first > 0 && params_[first - 1]->spec.unit == name) --first;
    for (unit_end_ = at; unit_end_ < params_.size() && params_[unit_end_]->spec.unit == name;) {
      ++unit_end_;
    }
    unit_.emplace(store_, params_.subspan(first, unit_end_ - first));
    DS_TRY(unit_->Acquire());
  }
  DS_TRY(sink(bytes_of(*params_[at])));
  const bool last = index + 1 == wanted_.size() || wanted_[index + 1] >= unit_end_;
  return last ? unit_->Release() : Status();
}

std::span<const std::byte> UnitWalk::BytesOf(const Param& param) const {
  const size_t bytes = static_cast<size_t>(param.spec.numel()) * DTypeBytes(store_.dtype());
  return {static_cast<const std::byte*>(param.data), bytes};
}

}  // namespace ds::infer
