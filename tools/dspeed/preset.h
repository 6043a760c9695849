// A preset: sizes of a model and how it is trained, as a file that a user can read and copy. The
// files lie in share/deepspeed/presets beside the program; a program that was moved away from them
// has a copy of each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"

namespace ds::tool {

struct Preset {
  std::string name, about;
  std::string path;  // of its file; empty: the copy in the program
  // For messages.
  std::string source() const { return path.empty() ? "preset " + name : path; }
  int64_t layers = 0, heads = 0, width = 0, context = 0;
  bool bias = true;  // false: biases stay 0 and are not trained
  std::string tokenizer = "bytes";
  std::optional<int64_t> steps, eval_every;
  Json ds_config = Json::object();  // what holds where the user's config says nothing
};

// `name`: of one beside the program, or the path of a file: with a slash in it, or .json at its
// end.
Result<Preset> FindPreset(const std::string& name);
// Shows all that FindPreset knows by name: what --list-presets asks for. Fails after that where one
// of them cannot be read.
Status ListPresets();
// "tiny, small, ..."
std::string PresetNames();

}  // namespace ds::tool
