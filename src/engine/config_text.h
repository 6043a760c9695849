// The table of keys as texts for others: a JSON Schema, the defaults, docs/CONFIG.md, and what one
// config comes to, key by key.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/config.h"

namespace ds {

// JSON Schema (2020-12) of what this release accepts, for editors.
std::string ConfigSchema();
// Every key with a default, as one ds_config.json that means the same as {}. Of types with
// parameters, the first.
std::string ConfigDefaults();
// docs/CONFIG.md.
std::string ConfigDocs();

// One key of a resolved config, and where its value came from.
struct ConfigEntry {
  enum class From { kText, kDefault, kDerived, kNoEffect };
  std::string key;  // under its proper name
  Json value;
  From from;
  std::string path;  // as it stands in the text; "" when it does not
  std::string why;   // of kNoEffect
};
// First those that have an effect, then what was given and has none.
std::vector<ConfigEntry> ConfigEntries(const ConfigReading& reading);

}  // namespace ds
