// generation_config.json of a Hugging Face folder: how its model is meant to be generated from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/folder_change.h"
#include "base/status.h"
#include "infer/sampler.h"
#include "model/decoder_config.h"

namespace ds::infer {

inline constexpr char kGenerationConfig[] = "generation_config.json";

struct GenerationConfig {
  std::string path;              // of the file; "": there is none
  std::vector<int32_t> end_ids;  // each ends a text
  // What the file says of how to choose; nothing, where it says nothing.
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;

  // What else it asks for, by key and value: it changes what is generated elsewhere, and not here.
  std::vector<std::string> not_done;

  // What the file says, over what `options` has.
  void Apply(SamplingOptions& options) const;
  // Where what it says is no way to choose.
  Status Check() const;
};

// Ends are those of the file, or else of the model's own config. A folder without the file is
// fine: config.json says it then, as that of older models does. do_sample false is temperature 0,
// and what goes with sampling is not read then; with do_sample true, no top_k is 50.
Result<GenerationConfig> ReadGenerationConfig(const std::string& folder,
                                              const model::DecoderConfig& config);

// Of the model in `from`, as it is, or as its config.json says it; where that is empty or says
// nothing, the ends of `config`. `end` is
// one more, of what the model has learned since.
Status AddGenerationConfig(FolderChange& change, const std::string& folder, const std::string& from,
                           const model::DecoderConfig& config,
                           std::optional<int32_t> end = std::nullopt);

}  // namespace ds::infer
