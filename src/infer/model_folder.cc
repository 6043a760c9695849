#include "infer/model_folder.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/file.h"
#include "infer/grown_table.h"
#include "infer/merger.h"
#include "infer/unit_walk.h"

namespace ds::infer {
namespace {

using checkpoint::HfFolder;
using checkpoint::TensorView;
using model::IsLora;
using model::Param;

// The head of a tied model may be stored a second time; another one would be another model.
bool RepeatsEmbedding(const HfFolder& folder, std::string_view embedding, std::string_view prefix,
                      const TensorView& head) {
  for (const std::string_view name : {embedding, embedding.substr(prefix.size())}) {
    const TensorView* table = folder.Find(name);
    if (table == nullptr) continue;
    return checkpoint::SameValues(*table, head);
  }
  return true;  // it is stored under this name alone
}

// Buffers that older releases stored beside the weights.
bool IsBuffer(std::string_view name) {
  if (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")) return true;
  const size_t rotary = name.rfind("rotary_emb.");
  if (rotary == name.npos || (rotary > 0 && name[rotary - 1] != '.')) return false;
  const std::string_view of = name.substr(rotary + std::string_view("rotary_emb.").size());
  return of == "inv_freq" || of == "cos_cached" || of == "sin_cached";
}

// What a folder says of its tables.
struct Tables {
  int64_t vocab;
  bool tied;
};

// The tensor of a parameter, in the shape that it has in the folder.
Result<TensorView> TakeFor(const model::Model& model, const Param& param, const Tables& base,
                           HfFolder& folder) {
  const std::string& name = param.spec.name;
  const std::string& embedding = EmbeddingOf(model);
  if (name != embedding && name != kHeadName) return folder.Take(name, param.spec.shape);
  std::vector<int64_t> shape = param.spec.shape;
  shape[0] = std::min(shape[0], base.vocab);
  // Of the two that are one in a tied model, a file may have either.
  const auto has = [&](std::string_view table) {
    const size_t prefix = table.starts_with(model.name_prefix()) ? model.name_prefix().size() : 0;
    return folder.Find(table) != nullptr || folder.Find(table.substr(prefix)) != nullptr;
  };
  const std::string other = name == embedding ? kHeadName : embedding;
  return folder.Take(base.tied && !has(name) && has(other) ? other : name, shape);
}

// All that the model needs is there, and nothing else.
Status CheckTensors(const std::string& path, const Tables& base, HfFolder& folder,
                    const model::Model& model) {
  for (const Param* param : model.params()) {
    if (!IsLora(param->spec.name)) DS_TRY(TakeFor(model, *param, base, folder).status());
  }
  // A tied model may be given adapters that make two of the one: what it was is checked all the
  // same.
  const TensorView* head = base.tied ? folder.Find(kHeadName) : nullptr;
  if (head != nullptr &&
      !RepeatsEmbedding(folder, EmbeddingOf(model), model.name_prefix(), *head)) {
    return Error(
        Code::kUnsupported,
        "{}: tensor {} is not a part of this model: tie_word_embeddings is true, and it is "
        "not the embedding",
        path, kHeadName);
  }
  for (const std::string& name : folder.Untaken()) {
    if (IsBuffer(name) || (head != nullptr && name == kHeadName)) continue;
    return Error(Code::kUnsupported, "{}: tensor {} is not a part of this model", path, name);
  }
  return {};
}

}  // namespace

Result<model::HfConfig> ReadModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  auto text = ReadFile(path);
  std::error_code none;
  if (text.status().code() == Code::kNotFound) {
    if (!std::filesystem::is_directory(folder, none)) {
      return Error(Code::kNotFound,
                   "{}: no such folder (a model is read from one, none downloaded)", folder);
    }
    const bool tokenizer = std::filesystem::exists(folder + "/tokenizer.json", none);
    return Error(Code::kNotFound, "{}: is not the folder of a model, it holds {}no config.json",
                 folder, tokenizer ? "a tokenizer and " : "");
  }
  if (!text.ok()) return text.status();
  return model::ParseHfConfig(*text, path);
}

const std::string& EmbeddingOf(const model::Model& model) {
  return model.params()[0]->spec.name;  // the first that is used
}

namespace {

// Of so many pages all over it, the last one among them: of one, those of its two ends.
uint64_t DigestOfPages(const TensorView& tensor, size_t pages) {
  constexpr size_t kPage = 4096;
  const size_t size = tensor.bytes.size(), page = std::min(size, kPage);
  uint64_t digest = XXH3_64bits_withSeed(tensor.dtype.data(), tensor.dtype.size(), size);
  for (size_t i = 0; i <= pages; ++i) {
    const auto bytes =
        tensor.bytes.subspan(i < pages ? (size - page) / pages * i : size - page, page);
    digest = XXH3_64bits_withSeed(bytes.data(), bytes.size(), digest);
  }
  return digest;
}

}  // namespace

uint64_t DigestOf(const TensorView& tensor) { return DigestOfPages(tensor, 16); }

bool IsTied(const model::Model& model) {
  const model::ParamList params = model.params();
  return std::none_of(params.begin(), params.end(),
                      [](const Param* param) { return param->spec.name == kHeadName; });
}

Result<Fingerprint> FingerprintOf(const std::string& folder) {
  DS_ASSIGN(const HfFolder opened, HfFolder::Open(folder));
  std::vector<std::string> names = opened.Untaken();  // all of them
  std::sort(names.begin(), names.end());
  const auto over_all = [&](auto digest_of) {
    uint64_t digest = 0;
    for (const std::string& name : names) {
      digest = XXH3_64bits_withSeed(name.data(), name.size(), digest);
      const TensorView& tensor = *opened.Find(name);
      const uint64_t of_tensor = digest_of(tensor);
      digest = XXH3_64bits_withSeed(&of_tensor, sizeof of_tensor, digest);
      opened.Forget(tensor);
    }
    return fmt::format("{:016x}", digest);
  };
  return Fingerprint{over_all([](const TensorView& tensor) { return DigestOfPages(tensor, 1); }),
                     over_all(DigestOf)};
}

Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store) {
  return LoadModel(folder, model, store, [](const Param& param) -> Result<ParamValues> {
    return Error(Code::kInternal, "{}: of an adapter, and nothing to fill it", param.spec.name);
  });
}

Result<FolderValues> FolderValues::Open(const std::string& folder, const model::Model& model) {
  DS_ASSIGN(HfFolder opened, HfFolder::Open(folder, std::string(model.name_prefix())));
  DS_ASSIGN(const model::HfConfig config,
            model::ParseHfConfig(opened.config_json(), folder + "/config.json"));
  const Tables base = {config.config.vocab, config.config.tied};
  DS_TRY(CheckTensors(folder, base, opened, model));
  return FolderValues(model, std::make_shared<HfFolder>(std::move(opened)), base.vocab, base.tied);
}

Result<ParamValues> FolderValues::operator()(const Param& param) const {
  DS_ASSIGN(const TensorView tensor, TakeFor(*model_, param, {vocab_, tied_}, *folder_));
  const auto values = [&](auto read) {
    const uint64_t digest = DigestOf(tensor);
    folder_->Forget(tensor);  // who reads a slice does not hold what lies around the samples
    return ParamValues(param.spec.numel(), std::move(read), digest);
  };
  if (tensor.numel() < param.spec.numel()) {
    return values([folder = folder_, table = std::make_shared<GrownTable>(tensor)](
                      int64_t begin, std::span<float> out) { return table->Read(begin, out); });
  }
  return values([folder = folder_, tensor](int64_t begin, std::span<float> out) {
    return checkpoint::ReadAsFloat(tensor, begin, out);
  });
}

Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store,
                 model::ValuesOf adapter_values) {
  DS_ASSIGN(const FolderValues values, FolderValues::Open(folder, model));
  // The store reads what it keeps, and maybe not before it is sealed.
  return model.RegisterParams(store, [&](const Param& param) -> Result<ParamValues> {
    return IsLora(param.spec.name) ? adapter_values(param) : values(param);
  });
}

Status SaveModel(const std::string& folder, const model::Model& model, ParamStore& store,
                 bool write, FunctionRef<Status(FolderChange&)> beside) {
  UnitWalk walk(store, model.params(), [](const Param& param) { return !IsLora(param.spec.name); });
  const checkpoint::HfModel hf{.config_json = model.HfConfig(store.dtype()),
                               .dtype = store.dtype(),
                               .tensors = walk.Tensors()};
  Merger merger(store.dtype());
  const auto bytes_of = [&](const Param& param) {
    const bool merges = write && param.adapter != nullptr;
    return merges ? merger.Merge(param) : walk.BytesOf(param);
  };
  return checkpoint::WriteHfFolder(
      folder, hf, write,
      [&](size_t index, checkpoint::ByteSink sink) { return walk.Hand(index, bytes_of, sink); },
      beside);
}

}  // namespace ds::infer
