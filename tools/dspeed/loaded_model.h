// A model of a folder with everything it stands on, ready to read text: what generation and
// evaluation have in common.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/task_pool.h"
#include "device/memory.h"
#include "infer/weight_store.h"
#include "kernels/gemm.h"
#include "model/decoder_config.h"
#include "model/model.h"
#include "tensor/dtype.h"
#include "token/tokenizer.h"

namespace ds::tool {

struct LoadedModel {
  explicit LoadedModel(int threads) : pool(threads) {}

  TaskPool pool;
  std::unique_ptr<kernels::Gemm> gemm;
  device::MemoryAccount account;
  std::optional<infer::WeightStore> weights;
  std::unique_ptr<token::Tokenizer> tokenizer;  // of a model that need not read text, or null
  Status no_tokenizer;                          // ... and why
  model::DecoderConfig config;
  std::string generation_folder;        // where generation_config.json is, if there is one
  std::unique_ptr<model::Model> model;  // last: it refers to the others

  // Tokens of a text, with those that go before it, and the text that a token stands for: nothing,
  // where it is a special one or the vocabulary is padded beyond the tokenizer.
  Result<std::vector<int32_t>> Encode(std::string_view text) const;
  std::string Decode(int32_t token) const;
};

struct ModelAsked {
  std::string folder;
  std::string base;                  // of adapters; "": as they name it
  std::string tokenizer;             // "": the folder's, or bytes
  std::optional<std::string> dtype;  // fp32, bf16, fp16; else that of the folder
  int threads = 0;                   // as in CpuThreads()
  int64_t cache_tokens = 0;          // of a generation at most; 0: the context
  bool reads_text = true;            // false: it may have no tokenizer
  bool reads_weights = true;         // false: the model has none
};
Result<std::unique_ptr<LoadedModel>> OpenModel(const ModelAsked& asked);

// --model and, of adapters, --base.
void AddModelFlags(CLI::App& app, std::string& model, std::string& base);

// What --dtype names.
Result<DType> ParseDType(std::string_view name);

}  // namespace ds::tool
