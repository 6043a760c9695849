// The weights of a model with its adapters (LoRA) added, one parameter at a time, in the dtype that
// they are stored in. Not the arithmetic (model/lora.h).
#pragma once

#include <span>
#include <vector>

#include "base/task_pool.h"
#include "model/param_use.h"

namespace ds::infer {

class Merger {
 public:
  explicit Merger(DType dtype) : dtype_(dtype) {}

  // Of a parameter that has an adapter, both acquired; until the next call.
  std::span<const std::byte> Merge(const model::Param& param);

 private:
  const DType dtype_;
  TaskPool pool_{1};
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

}  // namespace ds::infer
