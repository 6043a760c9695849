// Rotary position embeddings (Su et al., "RoFormer", 2021): the angles of each position, with the
// ways in which models stretch them over longer sequences. Not the rotation (kernels/ops.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/json.h"
#include "base/status.h"

namespace ds::model {

// As Hugging Face names and computes them (modeling_rope_utils of transformers 5).
enum class RopeScaling { kNone, kLinear, kDynamic, kYarn, kLlama3 };

struct RopeConfig {
  RopeScaling scaling = RopeScaling::kNone;
  double theta = 10000;
  double factor = 1;
  double original_context = 0;  // kYarn, kLlama3: what the model was trained on; 0: context
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  double beta_fast = 32, beta_slow = 1;              // kYarn
  bool truncate = true;                              // kYarn: its corners are whole dimensions
  std::optional<double> attention_factor = {};       // kYarn: of cosines and sines

  bool operator==(const RopeConfig&) const = default;

  // Reads `rope_parameters`, or `rope_theta` and `rope_scaling` of older files. Where both
  // spellings are there, the older one counts alone, as in the reference: who follows a model card
  // writes it.
  static Result<RopeConfig> Parse(const Json& config);
  // Into a config.json: `rope_parameters`, and the older spelling beside it.
  void Write(Json& config) const;

  // Whether the angles depend on how long the sequence is.
  bool depends_on_length(int64_t context) const {
    return scaling == RopeScaling::kDynamic && context > 0;
  }
  // table [tokens, head_dim]: cosines and sines, head_dim / 2 each, of the positions from `first`
  // on, in a sequence that ends with the last of them. `context`: max_position_embeddings.
  void Fill(int64_t head_dim, int64_t context, int64_t first, int64_t tokens,
            std::span<float> table) const;
};

}  // namespace ds::model
