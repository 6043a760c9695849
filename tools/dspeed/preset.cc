#include "preset.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "command.h"
#include "train_flags.h"

namespace ds::tool {
namespace {

struct Copy {
  const char *name, *text;
};
constexpr Copy kCopies[] = {
#include "preset_copies.inc"
};

// Beside the program, in the tree it was built in and where it is installed.
std::string Folder() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  return (program.parent_path() / DS_DATA_FROM_BIN / "presets").lexically_normal().string();
}

Status CheckKeys(const Json& object, std::string_view section,
                 std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      std::string all;
      for (const std::string_view name : known) {
        all += (all.empty() ? "" : ", ") + std::string(name);
      }
      return Error(Code::kConfig, "{}{} is unknown, expected one of {}", section, key, all);
    }
  }
  return {};
}

Result<Json> SectionOf(const Json& json, const char* key) {
  if (!json.contains(key)) return Json::object();
  if (json[key].is_object()) return json[key];
  return Error(Code::kConfig, "{} is {}, expected an object", key, JsonTypeName(json[key]));
}

Status ReadInto(const Json& json, Preset& preset) {
  if (!json.is_object()) {
    return Error(Code::kConfig, "is {}, expected an object", JsonTypeName(json));
  }
  DS_TRY(CheckKeys(json, "", {"about", "model", "tokenizer", "steps", "eval_every", "ds_config"}));
  DS_TRY(ReadKey(json, "about", preset.about));
  DS_TRY(ReadKey(json, "tokenizer", preset.tokenizer));
  for (auto [key, value] :
       {std::pair("steps", &preset.steps), std::pair("eval_every", &preset.eval_every)}) {
    if (!json.contains(key)) continue;
    DS_TRY(ReadKey(json, key, value->emplace()));
    if (**value < 1 || **value > kMostSteps) {
      return Error(Code::kConfig, "{} is {}, expected 1 to {}", key, **value, kMostSteps);
    }
  }
  DS_ASSIGN(const Json model, SectionOf(json, "model"));
  DS_TRY(CheckKeys(model, "model.", {"layers", "heads", "width", "context", "bias"}));
  const auto in_model = [](const Status& status) -> Status {
    return status.ok() ? status : Error(status.code(), "model.{}", status.message());
  };
  for (const auto& [key, size] :
       {std::pair("layers", &preset.layers), std::pair("heads", &preset.heads),
        std::pair("width", &preset.width), std::pair("context", &preset.context)}) {
    DS_TRY(in_model(RequireKey(model, key, *size)));
    if (*size < 1) return Error(Code::kConfig, "model.{} is {}, expected 1 or more", key, *size);
  }
  if (preset.width % preset.heads != 0) {
    return Error(Code::kConfig, "model.width {} is not a multiple of model.heads {}", preset.width,
                 preset.heads);
  }
  DS_TRY(in_model(ReadKey(model, "bias", preset.bias)));
  DS_ASSIGN(preset.ds_config, SectionOf(json, "ds_config"));
  return {};
}

Result<Preset> Parse(const std::string& name, const std::string& path, std::string_view text) {
  Preset preset;
  preset.name = name;
  preset.path = path;
  const std::string what = preset.source();
  DS_ASSIGN(const Json json, ParseJson(text, what));
  const Status status = ReadInto(json, preset);
  if (!status.ok()) return Error(status.code(), "{}: {}", what, status.message());
  return preset;
}

Result<Preset> ReadPreset(const std::string& name, const std::string& path) {
  DS_ASSIGN(const std::string text, ReadFile(path, int64_t{1} << 20));
  return Parse(name, path, text);
}

// Of the files beside the program and of the copies; the copies first, in their order.
std::vector<std::string> Names() {
  std::vector<std::string> names, found;
  for (const Copy& copy : kCopies) names.emplace_back(copy.name);
  std::error_code error;
  for (std::filesystem::directory_iterator it(Folder(), error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".json") found.push_back(it->path().stem().string());
  }
  std::sort(found.begin(), found.end());
  for (const std::string& name : found) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

}  // namespace

Result<Preset> FindPreset(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".json")) {
    return ReadPreset(std::filesystem::path(name).stem().string(), name);
  }
  const std::string path = fmt::format("{}/{}.json", Folder(), name);
  auto beside = ReadPreset(name, path);
  if (beside.ok() || beside.status().code() != Code::kNotFound) return beside;
  for (const Copy& copy : kCopies) {
    if (name == copy.name) return Parse(name, "", copy.text);
  }
  return InvalidArgument("--preset is {}, expected one of {}, or a file", name, PresetNames());
}

std::string PresetNames() {
  std::string text;
  for (const std::string& name : Names()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Status ListPresets() {
  Status wrong;  // of the first that cannot be read: the others are listed
  for (const std::string& name : Names()) {
    auto found = FindPreset(name);
    if (!found.ok()) {
      if (wrong.ok()) wrong = found.status();
      continue;
    }
    const Preset& preset = *found;
    Say("{:<17} {} layers, {} heads, width {}, context {}: {}\n{:<17} {}\n", preset.name,
        preset.layers, preset.heads, preset.width, preset.context, preset.about, "",
        preset.path.empty() ? "(in the program)" : preset.path);
  }
  return wrong;
}

}  // namespace ds::tool
