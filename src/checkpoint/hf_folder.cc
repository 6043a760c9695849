#include "checkpoint/hf_folder.h"

#include <filesystem>
#include <map>
#include <optional>

#include "checkpoint/shard_index.h"

namespace ds::checkpoint {
namespace {

constexpr char kConfigName[] = "/config.json";
constexpr char kWeightsName[] = "/model.safetensors";
constexpr char kPickleName[] = "/pytorch_model.bin";
constexpr char kPickleIndexName[] = "/pytorch_model.bin.index.json";
constexpr char kIndexName[] = "/model.safetensors.index.json";

Result<SafetensorsWriter> CreateWriter(const std::string& folder, const HfModel& model) {
  std::vector<TensorInfo> tensors = model.tensors;
  for (TensorInfo& info : tensors) info.dtype = SafetensorsDType(model.dtype);
  DS_TRY(MakeDirectories(folder));
  return SafetensorsWriter::Create(folder + "/" + model.weights_name, tensors);
}

}  // namespace

Status WriteHfFolder(const std::string& folder, const HfModel& model, bool write,
                     TensorSource source, FunctionRef<Status(FolderChange&)> beside) {
  std::optional<SafetensorsWriter> writer;
  Status disk;
  if (write) {
    auto created = CreateWriter(folder, model);
    if (created.ok()) {
      writer.emplace(std::move(created).Take());
    } else {
      disk = created.status();
    }
  }
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    DS_TRY(source(i, [&](std::span<const std::byte> bytes) -> Status {
      if (writer.has_value() && disk.ok()) disk = writer->Write(bytes);
      return {};
    }));
  }
  DS_TRY(disk);
  if (!write) return {};
  FolderChange change;
  DS_TRY(beside(change));
  DS_ASSIGN(AtomicFile weights, writer->TakeFile());
  change.Add(std::move(weights));
  const std::string config = folder + "/" + model.config_name;
  DS_TRY(change.Add(config, model.config_json));
  if (auto there = ReadFile(config); !there.ok() || *there != model.config_json) {
    change.Remove(config);
  }
  return change.Commit();
}

Result<HfFolder> HfFolder::Open(const std::string& folder, std::string optional_prefix) {
  DS_ASSIGN(std::string config, ReadFile(folder + kConfigName));
  HfFolder opened(folder, std::move(optional_prefix), std::move(config));
  std::error_code ignored;
  if (std::filesystem::exists(folder + kIndexName, ignored) &&
      !std::filesystem::exists(folder + kWeightsName, ignored)) {
    DS_TRY(opened.OpenShards());
    return opened;
  }
  opened.weights_ = folder + kWeightsName;
  for (const std::string pickle : {kPickleName, kPickleIndexName}) {
    if (std::filesystem::exists(opened.weights_, ignored)) break;
    if (!std::filesystem::exists(folder + pickle, ignored)) continue;
    return Error(Code::kNotFound,
                 "{}{} is not read, for a pickle can run any program: transformers' "
                 "save_pretrained writes {}",
                 folder, pickle, kWeightsName + 1);
  }
  DS_ASSIGN(SafetensorsReader reader, SafetensorsReader::Open(opened.weights_));
  opened.shards_.push_back(std::move(reader));
  return opened;
}

Status HfFolder::OpenShards() {
  weights_ = path_ + kIndexName;
  DS_ASSIGN(const std::string text, ReadFile(weights_));
  DS_ASSIGN(const auto index, ParseShardIndex(text, weights_));
  std::map<std::string, size_t> files;
  for (const auto& [name, file] : index) {
    const auto [at, fresh] = files.emplace(file, shards_.size());
    if (fresh) {
      DS_ASSIGN(SafetensorsReader reader, SafetensorsReader::Open(path_ + "/" + at->first));
      shards_.push_back(std::move(reader));
    }
    if (shards_[at->second].Find(name) == nullptr) {
      return Error(Code::kCorruptData, "{}: tensor {} is not in {}", weights_, name, at->first);
    }
  }
  for (const auto& [file, shard] : files) {
    for (const TensorView& view : shards_[shard].tensors()) {
      if (const auto at = index.find(view.name); at != index.end() && at->second == file) continue;
      return Error(Code::kCorruptData, "{}: tensor {} of {} is not in the index", weights_,
                   view.name, file);
    }
  }
  return {};
}

const TensorView* HfFolder::Find(std::string_view name) const {
  for (const SafetensorsReader& shard : shards_) {
    if (const TensorView* view = shard.Find(name); view != nullptr) return view;
  }
  return nullptr;
}

Result<TensorView> HfFolder::Take(const std::string& name, std::span<const int64_t> shape) {
  const TensorView* view = Find(name);
  if (view == nullptr && name.starts_with(prefix_)) {
    view = Find(std::string_view(name).substr(prefix_.size()));
  }
  if (view == nullptr) return Error(Code::kNotFound, "{}: has no tensor {}", weights_, name);
  if (!std::equal(shape.begin(), shape.end(), view->shape.begin(), view->shape.end())) {
    return InvalidArgument("{}: tensor {} has shape {}, expected {}", weights_, view->name,
                           ShapeText(view->shape), ShapeText(shape));
  }
  if (Status status = CheckFloat(*view); !status.ok()) {
    return Error(status.code(), "{}: {}", weights_, status.message());
  }
  taken_.insert(view->name);
  return *view;
}

std::vector<std::string> HfFolder::Untaken() const {
  std::vector<std::string> names;
  for (const SafetensorsReader& shard : shards_) {
    for (const TensorView& view : shard.tensors()) {
      if (!taken_.contains(view.name)) names.push_back(view.name);
    }
  }
  return names;
}

}  // namespace ds::checkpoint
