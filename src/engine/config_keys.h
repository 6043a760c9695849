// The keys of ds_config.json that this release knows: what it honours, and what it refuses and why.
// A refused key is accepted all the same with the values that ask for nothing.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

struct ConfigKey {
  std::string_view section;  // "" is the top level
  std::string_view name;
  std::string_view refusal;  // why it is refused; "" when it is honoured
  std::string_view neutral;  // JSON array of the values that are accepted although it is refused
};

std::span<const ConfigKey> ConfigKeys();
const ConfigKey* FindConfigKey(std::string_view section, std::string_view name);
// The known key of the section that is closest in spelling, or "" when none is near.
std::string NearestConfigKey(std::string_view section, std::string_view name);

}  // namespace ds
