// Adapters in the folder form of Hugging Face's PEFT: adapter_config.json and
// adapter_model.safetensors, beside a model that lies elsewhere.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/folder_change.h"
#include "base/status.h"
#include "checkpoint/safetensors.h"
#include "model/family.h"
#include "model/model.h"

namespace ds::infer {

class AdapterFolder {
 public:
  // The model below is in the folder `base`; where that is "", it is looked for where the file
  // says, and from this folder on.
  static Result<AdapterFolder> Open(const std::string& folder, const std::string& base = {});

  // With the place where its base was found.
  const model::LoraConfig& config() const { return config_; }
  // Whether a parameter lies here: those of adapters, and of the embedding and the head what was
  // trained whole, or was made larger, beside them. Its values.
  bool Has(const model::Param& param) const;
  Result<ParamValues> operator()(const model::Param& param) const;
  // That the file has nothing that this model has not.
  Status CheckNames(const model::Model& model) const;
  // What these tables make of the model below: its vocabulary may be larger, and an embedding and a
  // head that were one may be two.
  Status Adjust(model::DecoderConfig& base) const;

 private:
  // What tables that lie here make of an embedding and a head that are one: still one, two, or it
  // cannot be told.
  enum class Tables { kOne, kTwo, kUnclear };

  AdapterFolder(std::string path, model::LoraConfig config, Tables tables,
                checkpoint::SafetensorsReader reader)
      : path_(std::move(path)),
        config_(std::move(config)),
        tables_(tables),
        reader_(std::make_shared<checkpoint::SafetensorsReader>(std::move(reader))) {}

  std::string path_;  // of the weights
  model::LoraConfig config_;
  Tables tables_;
  std::shared_ptr<const checkpoint::SafetensorsReader> reader_;  // as long as values are read
};

// A folder of a model, or of adapters and the model below them.
struct ModelPlace {
  std::string base;
  std::string generation;  // where generation_config.json is, if there is one
  std::optional<AdapterFolder> adapters;

  std::optional<model::LoraConfig> lora() const {
    return adapters.has_value() ? std::optional(adapters->config()) : std::nullopt;
  }
};
// `base`: of adapters, the folder of the model below, or "" for the one that they name.
Result<ModelPlace> FindModel(const std::string& folder, const std::string& base = {});
// What config.json says of the model, with what its adapters make of it.
Result<model::HfConfig> ReadPlaceConfig(const ModelPlace& place);
// LoadModel of the two. `fresh` is for adapters that are in no folder.
Status LoadModelAt(const ModelPlace& place, model::Model& model, ParamStore& store);
Status LoadModelAt(const ModelPlace& place, model::Model& model, ParamStore& store,
                   model::ValuesOf fresh);

// Collective as SaveModel is.
Status SaveAdapter(const std::string& folder, const model::Model& model, ParamStore& store,
                   bool write, FunctionRef<Status(FolderChange&)> beside);

}  // namespace ds::infer
