#include "model/param_use.h"

namespace ds::model {

Status Acquired::Acquire() {
  for (; held_ < params_.size(); ++held_) {
    Param& param = *params_[held_];
    DS_ASSIGN(param.data, store_.Acquire(param.id));
  }
  return {};
}

Status Acquired::Release() {
  Status first;
  for (; held_ > 0; --held_) {
    Param& param = *params_[held_ - 1];
    param.data = nullptr;
    Status status = store_.Release(param.id);
    if (first.ok()) first = std::move(status);
  }
  return first;
}

}  // namespace ds::model
