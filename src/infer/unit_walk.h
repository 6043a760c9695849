// A walk over the parameters of a model to write them: one unit is gathered at a time. On sharded
// weights it is collective, like the Acquire it calls.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "checkpoint/hf_folder.h"
#include "model/param_use.h"

namespace ds::infer {

class UnitWalk {
 public:
  // Over those of `params` that are wanted, in their order. Both outlive the walk.
  UnitWalk(ParamStore& store, model::ParamList params, bool (*wanted)(const model::Param& param));

  // Of the file they go to. Names are those of the parameters, unless they are called otherwise.
  std::vector<checkpoint::TensorInfo> Tensors(
      std::string (*name)(std::string_view) = nullptr) const;

  // For index 0, 1, ... in order: what `bytes_of` gives for the parameter goes to the sink.
  using BytesOfParam = FunctionRef<std::span<const std::byte>(const model::Param& param)>;
  Status Hand(size_t index, BytesOfParam bytes_of, checkpoint::ByteSink sink);

  // Its weights as they are, while it is handed over.
  std::span<const std::byte> BytesOf(const model::Param& param) const;

 private:
  ParamStore& store_;
  const model::ParamList params_;
  std::vector<size_t> wanted_;  // of params_
  std::optional<model::Acquired> unit_;
  size_t unit_end_ = 0;
};

}  // namespace ds::infer
