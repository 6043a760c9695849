#include "infer/model_folder.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/file.h"
#include "checkpoint/hf_folder.h"

namespace ds::infer {
namespace {

using checkpoint::HfFolder;
using checkpoint::TensorView;
using model::Param;
using model::ParamList;

// The head of a tied model may be stored a second time; another one would be another model.
bool RepeatsEmbedding(const HfFolder& folder, std::string_view embedding, std::string_view prefix,
                      const TensorView& head) {
  for (const std::string_view name : {embedding, embedding.substr(prefix.size())}) {
    const TensorView* table = folder.Find(name);
    if (table == nullptr) continue;
    return table->dtype == head.dtype && table->bytes.size() == head.bytes.size() &&
           std::memcmp(table->bytes.data(), head.bytes.data(), head.bytes.size()) == 0;
  }
  return false;
}

// Buffers that older releases stored beside the weights.
bool IsBuffer(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
         name.ends_with(".rotary_emb.inv_freq");
}

Status CheckUntaken(const std::string& path, const HfFolder& folder, const model::Model& model) {
  const std::string& embedding = model.params()[0]->spec.name;  // the first that is used
  for (const std::string& name : folder.Untaken()) {
    if (IsBuffer(name)) continue;
    if (name == "lm_head.weight" &&
        RepeatsEmbedding(folder, embedding, model.name_prefix(), *folder.Find(name))) {
      continue;
    }
    return Error(Code::kUnsupported, "{}: tensor {} is not a part of this model", path, name);
  }
  return {};
}

// Of what tells a tensor from that of another model, and costs two pages of the file: its size, its
// dtype, how it begins and how it ends.
uint64_t DigestOf(const TensorView& tensor) {
  constexpr size_t kEnd = 4096;
  const size_t size = tensor.bytes.size(), part = std::min(size, kEnd);
  uint64_t digest = XXH3_64bits_withSeed(tensor.dtype.data(), tensor.dtype.size(), size);
  for (const auto bytes : {tensor.bytes.first(part), tensor.bytes.last(part)}) {
    digest = XXH3_64bits_withSeed(bytes.data(), bytes.size(), digest);
  }
  return digest;
}

// The parameters of the unit that begins at `first`.
ParamList UnitAt(ParamList params, size_t first) {
  size_t end = first + 1;
  while (end < params.size() && params[end]->spec.unit == params[first]->spec.unit) ++end;
  return params.subspan(first, end - first);
}

}  // namespace

Result<model::HfConfig> ReadModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  DS_ASSIGN(const std::string text, ReadFile(path));
  return model::ParseHfConfig(text, path);
}

Status LoadModel(const std::string& folder, model::Model& model, ParamStore& store) {
  DS_ASSIGN(HfFolder opened, HfFolder::Open(folder, std::string(model.name_prefix())));
  // The store reads what it keeps, and maybe not before it is sealed.
  const auto hf = std::make_shared<HfFolder>(std::move(opened));
  DS_TRY(model.RegisterParams(store, [&](const Param& param) -> Result<ParamValues> {
    DS_ASSIGN(const TensorView tensor, hf->Take(param.spec.name, param.spec.shape));
    const auto read = [hf, tensor](int64_t begin, std::span<float> out) {
      return checkpoint::ReadAsFloat(tensor, begin, out);
    };
    return ParamValues(param.spec.numel(), read, DigestOf(tensor));
  }));
  return CheckUntaken(folder, *hf, model);
}

Status SaveModel(const std::string& folder, const model::Model& model, ParamStore& store,
                 bool write) {
  const ParamList params = model.params();
  checkpoint::HfModel hf{.config_json = model.HfConfig(), .dtype = store.dtype(), .tensors = {}};
  for (const Param* param : params) hf.tensors.push_back({param->spec.name, "", param->spec.shape});

  std::optional<model::Acquired> unit;
  size_t unit_end = 0;
  return checkpoint::WriteHfFolder(
      folder, hf, write, [&](size_t index, checkpoint::ByteSink sink) -> Status {
        if (index == unit_end) {
          const ParamList members = UnitAt(params, index);
          unit.emplace(store, members);
          DS_TRY(unit->Acquire());
          unit_end = index + members.size();
        }
        const Param& param = *params[index];
        const size_t bytes = static_cast<size_t>(param.spec.numel()) * DTypeBytes(store.dtype());
        DS_TRY(sink({static_cast<const std::byte*>(param.data), bytes}));
        return index + 1 == unit_end ? unit->Release() : Status();
      });
}

}  // namespace ds::infer
