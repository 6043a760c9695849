// A model of a folder with everything it stands on, ready to read text: what generation and
// evaluation have in common.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/task_pool.h"
#include "device/memory.h"
#include "infer/weight_store.h"
#include "kernels/gemm.h"
#include "model/model.h"
#include "tensor/dtype.h"

namespace ds::tool {

struct LoadedModel {
  explicit LoadedModel(int threads) : pool(threads) {}

  TaskPool pool;
  std::unique_ptr<kernels::Gemm> gemm;
  device::MemoryAccount account;
  std::optional<infer::WeightStore> weights;
  std::unique_ptr<model::Model> model;  // last: it refers to the others

  // Tokens of a text, and the bytes that a token stands for.
  std::vector<int32_t> Encode(std::string_view text) const;
  std::string Decode(int32_t token) const;
};

// In the dtype of the folder, or in one of these: fp32, bf16, fp16. `threads` as in CpuThreads().
Result<std::unique_ptr<LoadedModel>> OpenModel(const std::string& folder,
                                               const std::optional<std::string>& dtype,
                                               int threads);

// What --dtype names.
Result<DType> ParseDType(std::string_view name);

}  // namespace ds::tool
