// A model and its Hugging Face folder: where the names of the one meet the file of the other. On
// sharded weights these are collective, like the Acquire they call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/folder_change.h"
#include "base/status.h"
#include "checkpoint/hf_folder.h"
#include "model/family.h"
#include "model/model.h"

namespace ds::infer {

// What config.json says, checked.
Result<model::HfConfig> ReadModelConfig(const std::string& folder);

// The name of its embedding.
const std::string& EmbeddingOf(const model::Model& model);
// Of what tells a tensor from that of another model at little cost: its size, its dtype, and 17
// pages all over it, the first and the last among them.
uint64_t DigestOf(const checkpoint::TensorView& tensor);
inline constexpr char kHeadName[] = "lm_head.weight";
// Whether its head is its embedding.
bool IsTied(const model::Model& model);

// What tells the weights of a folder from others of the same names and shapes: of each tensor its
// name, dtype and size, and samples of its bytes.
struct Fingerprint {
  std::string ends;  // by the first and the last page of each tensor alone, as older states say it
  std::string samples;
};
Result<Fingerprint> FingerprintOf(const std::string& folder);

// The values that a folder has of the parameters of a model, but for those of adapters; of a model
// with a larger vocabulary than the folder's, as GrownTable gives them.
class FolderValues {
 public:
  // A tensor that is missing or of another shape is an error by name. So is one that the model has
  // no use for, but for what files are known to carry beside the weights: buffers, and an lm_head
  // that repeats the embedding. The model outlives this.
  static Result<FolderValues> Open(const std::string& folder, const model::Model& model);

  // They read the file for as long as they are there.
  Result<ParamValues> operator()(const model::Param& param) const;

 private:
  FolderValues(const model::Model& model, std::shared_ptr<checkpoint::HfFolder> folder,
               int64_t vocab, bool tied)
      : model_(&model), folder_(std::move(folder)), vocab_(vocab), tied_(tied) {}

  const model::Model* model_;
  std::shared_ptr<checkpoint::HfFolder> folder_;
  int64_t vocab_;  // of the folder
  bool tied_;      // ... and whether its two tables are one
};

// Registers the model's parameters with the values of the folder, all or none.
Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store);
// The same of a model with adapters, which the folder does not have.
Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store,
                 model::ValuesOf adapter_values);

// Writes config.json and the weights in the store's dtype, one unit gathered at a time; `beside` as
// WriteHfFolder has it. Every rank calls it; those with `write` false store nothing. An error of
// the disk is known to the writer alone: the caller tells the others.
Status SaveModel(const std::string& folder, const model::Model& model, ParamStore& store,
                 bool write, FunctionRef<Status(FolderChange&)> beside);

}  // namespace ds::infer
