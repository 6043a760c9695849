// The values that a key takes, from its row: is one valid, what does it mean, how is it called.
#pragma once

#include <string>

#include "base/json.h"
#include "engine/config_keys.h"

namespace ds {

// "[0,1)": least and most; "(" and ")" leave the bound itself out.
struct ConfigRange {
  double least, most;
  bool above_least = false, below_most = false;

  bool holds(double value) const;
};
ConfigRange ParseConfigRange(std::string_view text);

// The value with its type set right (5e8 is 500000000, "yes" is true where DeepSpeed reads it so);
// a discarded value (Json::is_discarded) when the key does not take it.
Json NormalConfigValue(const ConfigKey& key, const Json& value, bool lax);

// "a whole number of at least 1", "\"log\" or \"linear\"".
std::string ConfigExpectation(const ConfigKey& key);
// The first `bytes` of a text and "...", or all of it; no character is cut in two.
std::string ShortText(std::string text, size_t bytes);
// A value as a message shows it: short.
std::string ShownConfigValue(const Json& value);
std::vector<std::string> ConfigChoices(const ConfigKey& key);

}  // namespace ds
