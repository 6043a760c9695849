#include "checkpoint/hf_folder.h"

#include <optional>

namespace ds::checkpoint {
namespace {

constexpr char kConfigName[] = "/config.json";
constexpr char kWeightsName[] = "/model.safetensors";

Result<SafetensorsWriter> CreateWriter(const std::string& folder, const HfModel& model) {
  std::vector<TensorInfo> tensors = model.tensors;
  for (TensorInfo& info : tensors) info.dtype = SafetensorsDType(model.dtype);
  DS_TRY(MakeDirectories(folder));
  return SafetensorsWriter::Create(folder + kWeightsName, tensors);
}

}  // namespace

Status WriteHfFolder(const std::string& folder, const HfModel& model, bool write,
                     TensorSource source) {
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
  DS_TRY(writer->Finish());
  return WriteFileAtomic(folder + kConfigName, model.config_json);
}

Result<HfFolder> HfFolder::Open(const std::string& folder, std::string optional_prefix) {
  DS_ASSIGN(std::string config, ReadFile(folder + kConfigName));
  DS_ASSIGN(SafetensorsReader reader, SafetensorsReader::Open(folder + kWeightsName));
  return HfFolder(folder, std::move(optional_prefix), std::move(config), std::move(reader));
}

Status HfFolder::Read(const std::string& name, std::span<const int64_t> shape,
                      std::span<float> out) {
  const TensorView* view = reader_.Find(name);
  if (view == nullptr && name.starts_with(prefix_)) {
    view = reader_.Find(std::string_view(name).substr(prefix_.size()));
  }
  if (view == nullptr) {
    return Error(Code::kNotFound, "{}{}: has no tensor {}", path_, kWeightsName, name);
  }
  if (!std::equal(shape.begin(), shape.end(), view->shape.begin(), view->shape.end())) {
    return InvalidArgument("{}{}: tensor {} has shape {}, expected {}", path_, kWeightsName,
                           view->name, ShapeText(view->shape), ShapeText(shape));
  }
  read_.insert(view->name);
  return ReadAsFloat(*view, out);
}

std::vector<std::string> HfFolder::Unread() const {
  std::vector<std::string> names;
  for (const TensorView& view : reader_.tensors()) {
    if (!read_.contains(view.name)) names.push_back(view.name);
  }
  return names;
}

}  // namespace ds::checkpoint
