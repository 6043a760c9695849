// A model and its Hugging Face folder: where the names of the one meet the file of the other. On
// sharded weights these are collective, like the Acquire they call.
#pragma once

#include <string>

#include "base/status.h"
#include "model/family.h"
#include "model/model.h"

namespace ds::infer {

// What config.json says, checked.
Result<model::HfConfig> ReadModelConfig(const std::string& folder);

// What tells the weights of a folder from others of the same names and shapes: of each tensor its
// name, dtype and size, and how its bytes begin and end.
Result<std::string> WeightsFingerprint(const std::string& folder);

// Registers the model's parameters with the values of the folder; of a model with a larger
// vocabulary than the folder's, as GrownTable gives them. A tensor that is missing or of
// another shape is an error by name, before anything is registered. So is one that the model has no
// use for, but for what GPT-2 files are known to carry beside the weights: mask buffers, and an
// lm_head that repeats the embedding.
Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store);
// The same of a model with adapters, which the folder does not have.
Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store,
                 model::ValuesOf adapter_values);

// Writes config.json and the weights in the store's dtype, one unit gathered at a time. Every rank
// calls it; those with `write` false store nothing. An error of the disk is known to the writer
// alone: the caller tells the others.
Status SaveModel(const std::string& folder, const model::Model& model, ParamStore& store,
                 bool write);

}  // namespace ds::infer
