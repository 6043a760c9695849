#include "infer/adapter_folder.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "infer/generation_config.h"
#include "infer/model_folder.h"
#include "infer/unit_walk.h"
#include "model/peft_config.h"

namespace ds::infer {
namespace {

using model::Param;

constexpr char kConfigName[] = "adapter_config.json";
constexpr char kWeightsName[] = "adapter_model.safetensors";

bool Exists(const std::string& path) {
  std::error_code none;
  return std::filesystem::exists(path, none);
}

// A model with such a weight is broken, and what is merged with it is, too.
Status CheckFinite(const std::string& path, const checkpoint::TensorView& tensor) {
  std::vector<float> values(std::min<size_t>(static_cast<size_t>(tensor.numel()), 1 << 14));
  for (int64_t begin = 0; begin < tensor.numel(); begin += std::ssize(values)) {
    const auto count = std::min<int64_t>(std::ssize(values), tensor.numel() - begin);
    const auto part = std::span(values).first(static_cast<size_t>(count));
    DS_TRY(checkpoint::ReadAsFloat(tensor, begin, part));
    for (int64_t i = 0; i < count; ++i) {
      const float value = values[static_cast<size_t>(i)];
      if (std::isfinite(value)) continue;
      return Error(Code::kCorruptData, "{}: tensor {} has {} at {}, expected finite numbers", path,
                   tensor.name, value, begin + i);
    }
  }
  return {};
}

// Of the products whose first factor is there: its rows.
model::LoraRanks RanksIn(const checkpoint::SafetensorsReader& weights) {
  const std::string prefix = model::PeftName(".lora_A.weight"), suffix = ".lora_A.weight";
  const std::string_view begin = std::string_view(prefix).substr(0, prefix.size() - suffix.size());
  model::LoraRanks ranks;
  for (const checkpoint::TensorView& tensor : weights.tensors()) {
    std::string_view name = tensor.name;
    if (!name.starts_with(begin) || !name.ends_with(suffix) || tensor.shape.size() != 2) continue;
    name.remove_prefix(begin.size());
    name.remove_suffix(suffix.size());
    ranks[std::string(name)] = tensor.shape[0];
  }
  return ranks;
}

bool IsAdapter(const Param& param) { return model::IsLora(param.spec.name); }

bool IsModel(const std::string& folder) { return Exists(folder + "/config.json"); }

// Where the model is that adapter_config.json (`path`) calls `named`.
Result<std::string> FindBase(const std::string& folder, const std::string& path,
                             const std::string& named) {
  if (named.find('\0') != named.npos) {
    return Error(Code::kConfig, "{}: base_model_name_or_path has a NUL byte behind {}", path,
                 named.c_str());
  }
  if (IsModel(named)) return named;  // PEFT takes it from the working directory
  const std::string beside = folder + "/" + named;
  if (!named.starts_with('/') && IsModel(beside)) return beside;
  return Error(Code::kNotFound,
               "{}: base_model_name_or_path {}: say where that model is (--base, options.base)",
               path,
               named.empty() ? "is no name"
                             : fmt::format("is \"{}\", where there is no config.json", named));
}

}  // namespace

Result<AdapterFolder> AdapterFolder::Open(const std::string& folder, const std::string& base) {
  const std::string path = folder + "/" + kConfigName, weights = folder + "/" + kWeightsName;
  DS_ASSIGN(const std::string text, ReadFile(path));
  DS_ASSIGN(const model::PeftConfig peft, model::PeftConfig::Parse(text, path));
  if (const std::string pickle = folder + "/adapter_model.bin";
      !Exists(weights) && Exists(pickle)) {
    return Error(Code::kNotFound,
                 "{} is not read, for a pickle can run any program: PEFT's save_pretrained writes "
                 "{}",
                 pickle, kWeightsName);
  }
  DS_ASSIGN(checkpoint::SafetensorsReader reader, checkpoint::SafetensorsReader::Open(weights));
  DS_ASSIGN(model::LoraConfig config, peft.Resolve(RanksIn(reader)));
  if (base.empty()) {
    DS_ASSIGN(config.base, FindBase(folder, path, config.base));
  } else {
    config.base = AbsolutePath(base);
  }
  return AdapterFolder(weights, std::move(config), std::move(reader));
}

Result<ParamValues> AdapterFolder::operator()(const Param& param) const {
  const std::string name = model::PeftName(param.spec.name);
  const checkpoint::TensorView* view = reader_->Find(name);
  if (view == nullptr) return Error(Code::kNotFound, "{}: has no tensor {}", path_, name);
  if (view->shape != param.spec.shape) {
    return InvalidArgument("{}: tensor {} has shape {}, expected {}", path_, name,
                           checkpoint::ShapeText(view->shape),
                           checkpoint::ShapeText(param.spec.shape));
  }
  if (Status status = checkpoint::CheckFloat(*view); !status.ok()) {
    return Error(status.code(), "{}: {}", path_, status.message());
  }
  DS_TRY(CheckFinite(path_, *view));
  const auto read = [reader = reader_, view](int64_t begin, std::span<float> out) {
    return checkpoint::ReadAsFloat(*view, begin, out);
  };
  const auto bytes = view->bytes;
  return ParamValues(param.spec.numel(), read, XXH3_64bits(bytes.data(), bytes.size()));
}

Status AdapterFolder::CheckNames(const model::Model& model) const {
  const model::ParamList params = model.params();
  for (const checkpoint::TensorView& view : reader_->tensors()) {
    const bool known = std::any_of(params.begin(), params.end(), [&](const Param* param) {
      return IsAdapter(*param) && model::PeftName(param->spec.name) == view.name;
    });
    if (known) continue;
    const bool table = view.name.ends_with("lm_head.weight") || view.name.ends_with("wte.weight") ||
                       view.name.ends_with("embed_tokens.weight");
    return Error(Code::kUnsupported, "{}: tensor {} is not a part of these adapters{}", path_,
                 view.name,
                 table ? ": they carry a whole embedding or head, which is only merged by PEFT "
                         "(merge_and_unload, then save_pretrained)"
                       : "");
  }
  return {};
}

Result<ModelPlace> FindModel(const std::string& folder, const std::string& base) {
  ModelPlace place{.base = folder, .generation = folder, .adapters = {}};
  if (!Exists(folder + "/" + kConfigName)) {
    if (base.empty() || !Exists(folder)) return place;  // who reads it says what there is not
    return InvalidArgument("{} has no {}: only adapters have a base (--base, options.base: {})",
                           folder, kConfigName, base);
  }
  DS_ASSIGN(AdapterFolder adapters, AdapterFolder::Open(folder, base));
  place.base = adapters.config().base;
  if (!Exists(folder + "/" + kGenerationConfig)) place.generation = place.base;
  place.adapters.emplace(std::move(adapters));
  return place;
}

Status LoadModelAt(const ModelPlace& place, model::Model& model, ParamStore& store) {
  if (!place.adapters.has_value()) return LoadModel(place.base, model, store);
  DS_TRY(place.adapters->CheckNames(model));
  return LoadModel(place.base, model, store, *place.adapters);
}

Status LoadModelAt(const ModelPlace& place, model::Model& model, ParamStore& store,
                   model::ValuesOf fresh) {
  if (place.adapters.has_value()) return LoadModelAt(place, model, store);
  return LoadModel(place.base, model, store, fresh);
}

Status SaveAdapter(const std::string& folder, const model::Model& model, ParamStore& store,
                   bool write) {
  const model::ParamList params = model.params();
  const auto adapted = std::find_if(params.begin(), params.end(),
                                    [](const Param* param) { return param->adapter != nullptr; });
  if (model.lora() == nullptr || adapted == params.end()) {
    return InvalidState("{}: the model has no adapters to save", folder);
  }
  UnitWalk walk(store, params, IsAdapter);
  const checkpoint::HfModel hf{
      .config_json = ToPeftConfig(*model.lora(), (*adapted)->adapter->layout),
      .config_name = kConfigName,
      .weights_name = kWeightsName,
      .dtype = store.dtype(),
      .tensors = walk.Tensors(model::PeftName)};
  const auto bytes_of = [&](const Param& param) { return walk.BytesOf(param); };
  return checkpoint::WriteHfFolder(folder, hf, write, [&](size_t index, checkpoint::ByteSink sink) {
    return walk.Hand(index, bytes_of, sink);
  });
}

}  // namespace ds::infer
