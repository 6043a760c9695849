// Holds a ds_config.json against the table of keys: finds everything that is wrong with it, and
// leaves the values that may be read. Knows no engine; what several keys mean together is
// config.h's.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "engine/config_keys.h"

namespace ds {

struct ConfigProblem {
  std::string path;     // of the key, as it is written
  std::string message;  // names the key and the value
};

// A key that stands in the text.
struct GivenConfigKey {
  std::string path;  // as it is written
  std::string key;   // the same under its proper name
  Json value;        // as it is written
  ConfigUse::Kind kind;
  std::string why;  // of keys without effect: why
  bool automatic;   // "auto"
};

struct CheckedConfig {
  Json values = Json::object();  // valid, under their proper names, types set right; no "auto"
  std::vector<GivenConfigKey> given;
  std::vector<ConfigProblem> problems;

  bool automatic(std::string_view key) const;
  // It stands there, as "auto" or as null.
  bool undecided(std::string_view key) const;
  // There is a problem at this key, or in this section.
  bool wrong(std::string_view key) const;
};

// `json` is an object.
CheckedConfig CheckConfig(const Json& json);

template <typename... Args>
void AddProblem(CheckedConfig& checked, std::string path, fmt::format_string<Args...> format,
                Args&&... args) {
  checked.problems.push_back({std::move(path), fmt::format(format, std::forward<Args>(args)...)});
}

}  // namespace ds
