#include "infer/adapter_folder.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
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

bool IsFile(const std::string& path) {
  std::error_code none;
  return Exists(path) && !std::filesystem::is_directory(path, none);
}

// A model with such a weight is broken, and what is merged with it is, too.
Status CheckFinite(const std::string& path, const std::string& tensor, int64_t begin,
                   std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return Error(Code::kCorruptData, "{}: tensor {} has {} at {}, expected finite numbers", path,
                 tensor, values[i], begin + static_cast<int64_t>(i));
  }
  return {};
}

// Of the products whose first factor is there: its rows.
model::LoraRanks RanksIn(const checkpoint::SafetensorsReader& weights) {
  constexpr std::string_view kFactor = ".lora_A.weight";
  const std::string prefix = model::PeftName("");
  model::LoraRanks ranks;
  for (const checkpoint::TensorView& tensor : weights.tensors()) {
    std::string_view name = tensor.name;
    if (!name.starts_with(prefix) || tensor.shape.size() != 2) continue;
    name.remove_prefix(prefix.size());
    if (!name.ends_with(kFactor) || name.size() == kFactor.size()) continue;
    ranks[std::string(name.substr(0, name.size() - kFactor.size()))] = tensor.shape[0];
  }
  return ranks;
}

// The name of a table in the file: "" where it has none.
std::string TableIn(const checkpoint::SafetensorsReader& weights,
                    std::initializer_list<const char*> ends) {
  for (const checkpoint::TensorView& tensor : weights.tensors()) {
    for (const char* end : ends) {
      if (tensor.name.starts_with(model::PeftName("")) && tensor.name.ends_with(end)) {
        return tensor.name;
      }
    }
  }
  return "";
}
std::string EmbeddingIn(const checkpoint::SafetensorsReader& weights) {
  return TableIn(weights, {".embed_tokens.weight", ".wte.weight"});
}
std::string HeadIn(const checkpoint::SafetensorsReader& weights) {
  return TableIn(weights, {".lm_head.weight"});
}

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
  config.embedding = !EmbeddingIn(reader).empty();
  config.head = !HeadIn(reader).empty();
  for (const auto& [said, is, what] :
       {std::tuple(peft.embedding(), config.embedding, "an embedding"),
        std::tuple(peft.head(), config.head, "lm_head")}) {
    if (!said || is) continue;
    return Error(Code::kCorruptData, "{}: modules_to_save has {}, and {} has none", path, what,
                 weights);
  }
  if (base.empty()) {
    DS_ASSIGN(config.base, FindBase(folder, path, config.base));
  } else {
    config.base = AbsolutePath(base);
  }
  // Of a tied model: what is here twice may be one. PEFT writes both also where it keeps them tied.
  const checkpoint::TensorView* table = reader.Find(EmbeddingIn(reader));
  const checkpoint::TensorView* head = reader.Find(HeadIn(reader));
  const bool both = table != nullptr && head != nullptr;
  Tables tables = both && checkpoint::SameValues(*table, *head) ? Tables::kOne : Tables::kTwo;
  // What no wrapper of PEFT is for is read into the table of the model, which may be one.
  if (tables == Tables::kTwo && (peft.keeps_tied() || !(peft.embedding() || peft.head()))) {
    tables = table != nullptr && head == nullptr ? Tables::kOne : Tables::kUnclear;
  }
  return AdapterFolder(weights, std::move(config), tables, std::move(reader));
}

bool AdapterFolder::Has(const Param& param) const {
  return model::IsLora(param.spec.name) ||
         reader_->Find(model::PeftName(param.spec.name)) != nullptr;
}

Status AdapterFolder::Adjust(model::DecoderConfig& base) const {
  const checkpoint::TensorView* embedding = reader_->Find(EmbeddingIn(*reader_));
  const checkpoint::TensorView* head = reader_->Find(HeadIn(*reader_));
  for (const checkpoint::TensorView* table : {embedding, head}) {
    if (table == nullptr) continue;
    if (table->shape.size() != 2 || table->shape[1] != base.width || table->shape[0] < base.vocab) {
      return InvalidArgument("{}: tensor {} has shape {}, expected [{} or more, {}]", path_,
                             table->name, checkpoint::ShapeText(table->shape), base.vocab,
                             base.width);
    }
    base.GrowVocab(table->shape[0]);
    if (Status status = base.Check(); !status.ok()) {
      return Error(status.code(), "{}: tensor {}: {}", path_, table->name, status.message());
    }
  }
  if (!base.tied || (embedding == nullptr && head == nullptr)) return {};
  if (tables_ == Tables::kUnclear) {
    return Error(
        Code::kUnsupported,
        "{}: the model below has one table for its embedding and its head, and here is {}, "
        "which modules_to_save does not say to be for one of them alone",
        path_, embedding != nullptr ? "one for each, with other values" : "one for the head");
  }
  base.tied = tables_ == Tables::kOne;
  return {};
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
  // Of what is read, which of a table is a rank's own share.
  const auto read = [reader = reader_, path = path_, view](int64_t begin,
                                                           std::span<float> out) -> Status {
    DS_TRY(checkpoint::ReadAsFloat(*view, begin, out));
    return CheckFinite(path, view->name, begin, out);
  };
  if (!model::IsLora(param.spec.name)) {
    return ParamValues(param.spec.numel(), read, DigestOf(*view));
  }
  std::vector<float> all(static_cast<size_t>(view->numel()));
  DS_TRY(read(0, all));  // small, and an error is told before anything is registered
  return ParamValues(param.spec.numel(), read, XXH3_64bits(view->bytes.data(), view->bytes.size()));
}

Status AdapterFolder::CheckNames(const model::Model& model) const {
  std::set<std::string> known;
  for (const Param* param : model.params()) {
    if (model::IsLora(param->spec.name)) known.insert(model::PeftName(param->spec.name));
  }
  for (const std::string& name :
       {model::PeftName(EmbeddingOf(model)), model::PeftName(kHeadName)}) {
    const checkpoint::TensorView* table = reader_->Find(name);
    if (table == nullptr) continue;
    known.insert(name);
    // Of a model that was made larger, PEFT writes down what it keeps in its wrapper, too.
    const std::string module = name.substr(0, name.rfind('.'));
    known.insert(module + ".original_module.weight");
    const std::string again = module + ".modules_to_save.weight";
    const checkpoint::TensorView* copy = reader_->Find(again);
    if (copy != nullptr && checkpoint::SameValues(*copy, *table)) known.insert(again);
  }
  const std::string all = model::PeftName(""), table = EmbeddingOf(model);
  const std::string headless = all + table.substr(0, table.find('.') + 1);
  for (const checkpoint::TensorView& view : reader_->tensors()) {
    if (known.contains(view.name)) continue;
    const auto has = [&](const char* part) { return view.name.find(part) != std::string::npos; };
    std::string why;
    if (has(".lora_embedding_") || has(".lm_head.lora_") || has(".lm_head.base_layer")) {
      why = ": adapters of a head or an embedding are not supported";
    } else if (view.name.starts_with(all) &&
               known.contains(headless + view.name.substr(all.size()))) {
      why = ", but of those of the model without its head (task_type FEATURE_EXTRACTION)";
    }
    return Error(Code::kUnsupported, "{}: tensor {} is not a part of these adapters{}", path_,
                 view.name, why);
  }
  return {};
}

Result<ModelPlace> FindModel(const std::string& folder, const std::string& base) {
  ModelPlace place{.base = folder, .generation = folder, .adapters = {}};
  if (IsFile(folder)) {
    return InvalidArgument("{} is a file, expected the folder of a model", folder);
  }
  if (!Exists(folder + "/" + kConfigName)) {
    if (base.empty() || !Exists(folder)) return place;  // who reads it says what there is not
    return InvalidArgument("{} has no {}: only adapters have a base (--base, options.base: {})",
                           folder, kConfigName, base);
  }
  if (IsFile(base)) {
    return InvalidArgument("{} is a file, expected the folder of a model (--base, options.base)",
                           base);
  }
  DS_ASSIGN(AdapterFolder adapters, AdapterFolder::Open(folder, base));
  place.base = adapters.config().base;
  if (!Exists(folder + "/" + kGenerationConfig)) place.generation = place.base;
  place.adapters.emplace(std::move(adapters));
  return place;
}

Result<model::HfConfig> ReadPlaceConfig(const ModelPlace& place) {
  DS_ASSIGN(model::HfConfig config, ReadModelConfig(place.base));
  if (place.adapters.has_value()) DS_TRY(place.adapters->Adjust(config.config));
  return config;
}

Status LoadModelAt(const ModelPlace& place, model::Model& model, ParamStore& store) {
  if (!place.adapters.has_value()) return LoadModel(place.base, model, store);
  const AdapterFolder& adapters = *place.adapters;
  DS_TRY(adapters.CheckNames(model));
  DS_ASSIGN(const FolderValues base, FolderValues::Open(place.base, model));
  return model.RegisterParams(store, [&](const Param& param) -> Result<ParamValues> {
    return adapters.Has(param) ? adapters(param) : base(param);
  });
}

Status LoadModelAt(const ModelPlace& place, model::Model& model, ParamStore& store,
                   model::ValuesOf fresh) {
  if (place.adapters.has_value()) return LoadModelAt(place, model, store);
  return LoadModel(place.base, model, store, fresh);
}

Status SaveAdapter(const std::string& folder, const model::Model& model, ParamStore& store,
                   bool write, FunctionRef<Status(FolderChange&)> beside) {
  const model::ParamList params = model.params();
  const auto adapted = std::find_if(params.begin(), params.end(),
                                    [](const Param* param) { return param->adapter != nullptr; });
  if (model.lora() == nullptr || adapted == params.end()) {
    return InvalidState("{}: the model has no adapters to save", folder);
  }
  // Of a tied model what is trained whole is both, and lies here as both: so every PEFT reads it.
  UnitWalk walk(store, params, [](const Param& param) { return param.spec.trainable; });
  UnitWalk tables(store, params, [](const Param& param) {
    return param.spec.trainable && !model::IsLora(param.spec.name);
  });
  std::vector<checkpoint::TensorInfo> tensors = walk.Tensors(model::PeftName);
  const size_t count = tensors.size();
  std::vector<std::string> whole;
  for (const checkpoint::TensorInfo& info : tables.Tensors()) {
    const std::string module = info.name.substr(0, info.name.rfind('.'));
    whole.push_back(module.substr(module.rfind('.') + 1));
  }
  const bool twice = model.lora()->embedding && IsTied(model);
  if (twice) {
    tensors.push_back(tables.Tensors().front());
    tensors.back().name = model::PeftName(kHeadName);
    whole.emplace_back("lm_head");
  }
  const checkpoint::HfModel hf{
      .config_json = ToPeftConfig(*model.lora(), (*adapted)->adapter->layout, whole),
      .config_name = kConfigName,
      .weights_name = kWeightsName,
      .dtype = store.dtype(),
      .tensors = std::move(tensors)};
  return checkpoint::WriteHfFolder(
      folder, hf, write,
      [&](size_t index, checkpoint::ByteSink sink) {
        UnitWalk& of = index < count ? walk : tables;
        const auto bytes_of = [&](const Param& param) { return of.BytesOf(param); };
        return of.Hand(index < count ? index : 0, bytes_of, sink);
      },
      beside);
}

}  // namespace ds::infer
