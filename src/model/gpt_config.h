// The sizes of a GPT-2, and its Hugging Face config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tensor/dtype.h"

namespace ds::model {

struct GptConfig {
  int64_t vocab = 256, context = 256, layers = 4, heads = 4, width = 128;
  float norm_eps = 1e-5f;
  // Only carried from one config.json to the next; -1: none.
  int64_t bos_token = -1, eos_token = -1;

  // Every size positive, width a multiple of heads, and no product that overflows.
  Status Check() const;
  int64_t parameters() const;
  // Forward and backward, counted as Chowdhery et al. (PaLM, 2022, appendix B) do: 6 a weight in a
  // product, and attention over all `tokens` of the sequence.
  double TrainFlopsPerToken(int64_t tokens) const;
};

// What the file says, checked. What the file asks for and this model does not do is refused by
// name; dropout is the exception: it is never applied.
struct HfGptConfig {
  GptConfig config;
  std::optional<DType> dtype;  // absent: the file names none, or one that is neither of ours
};
Result<HfGptConfig> ParseHfConfig(std::string_view json, std::string_view what = "config.json");
std::string ToHfConfig(const GptConfig& config, DType dtype);

}  // namespace ds::model
