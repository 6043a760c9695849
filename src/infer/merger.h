// The weights of a model with its adapters (LoRA) added. Not the arithmetic (model/lora.h).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/folder_change.h"
#include "base/function_ref.h"
#include "base/status.h"
#include "base/task_pool.h"
#include "infer/adapter_folder.h"
#include "model/model.h"
#include "model/param_use.h"

namespace ds::infer {

// One parameter at a time, of a store, in the dtype that it keeps them in.
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

// A model of both folders of a place, in `dtype`: read, added in fp32 and rounded once, so many
// rows at a time as need little memory. `model` is theirs, without values. What is not finite, or
// not in 16 bits, is refused by name, and then nothing is replaced; `beside` as WriteHfFolder has
// it.
Status SaveMerged(const std::string& folder, const ModelPlace& place, const model::Model& model,
                  DType dtype, TaskPool& pool, FunctionRef<Status(FolderChange&)> beside);

}  // namespace ds::infer
