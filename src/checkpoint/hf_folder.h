// A Hugging Face model folder: config.json, and model.safetensors or the shards that
// model.safetensors.index.json names. What the config says and which
// names a model has is the business of the model; here they are text and shapes.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/folder_change.h"
#include "base/function_ref.h"
#include "base/status.h"
#include "checkpoint/safetensors.h"
#include "tensor/dtype.h"

namespace ds::checkpoint {

struct HfModel {
  std::string config_json;
  const char* config_name = "config.json";
  const char* weights_name = "model.safetensors";
  DType dtype = DType::kF32;        // of every tensor
  std::vector<TensorInfo> tensors;  // name and shape; their dtype is set from the above
};

using ByteSink = FunctionRef<Status(std::span<const std::byte>)>;
// Hands the bytes of tensor `index` to the sink, so that the caller can hold (gather) one unit at
// a time. Called for 0, 1, 2, ... in order.
using TensorSource = FunctionRef<Status(size_t index, ByteSink sink)>;

// All files come in place of what is there together (FolderChange); config.json comes last, so a
// folder with a config is whole: another one that is there goes before the new weights come.
// `beside`: called when the tensors are written, adds what is to come and go with them.
//
// The source may be collective: ranks with `write` false make the same calls of it and store
// nothing, and a rank whose disk fails goes on calling it to the end before it reports, so that no
// peer waits. A failure of the source itself ends it at once.
Status WriteHfFolder(const std::string& folder, const HfModel& model, bool write,
                     TensorSource source, FunctionRef<Status(FolderChange&)> beside);

class HfFolder {
 public:
  // Tensors may also be stored without `optional_prefix`, as older GPT-2 files are. An index has to
  // agree with its shards, which lie beside it.
  static Result<HfFolder> Open(const std::string& folder,
                               std::string optional_prefix = "transformer.");

  const std::string& config_json() const { return config_json_; }
  // Null: in no file.
  const TensorView* Find(std::string_view name) const;
  // As MappedFile::Forget().
  void Forget(const TensorView& tensor) const {
    for (const SafetensorsReader& shard : shards_) shard.Forget(tensor);
  }

  // The tensor to be read as fp32 (ReadAsFloat), as long as this object is there. Fails by name
  // when it is missing, has another shape or no floats.
  Result<TensorView> Take(const std::string& name, std::span<const int64_t> shape);
  // Names of the file that no Take asked for: what a model did not understand.
  std::vector<std::string> Untaken() const;

 private:
  HfFolder(std::string path, std::string prefix, std::string config)
      : path_(std::move(path)), prefix_(std::move(prefix)), config_json_(std::move(config)) {}
  Status OpenShards();

  std::string path_, prefix_, config_json_;
  std::string weights_;  // the file that says where tensors are
  std::vector<SafetensorsReader> shards_;
  std::set<std::string> taken_;
};

}  // namespace ds::checkpoint
