#include "engine/config_keys.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include <fmt/core.h>

#include "base/edit_distance.h"

namespace ds {
namespace {

char Lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

}  // namespace

std::span<const ConfigSection> ConfigSections() {
  static const std::vector<ConfigSection> all = [] {
    std::vector<ConfigSection> sections;
    for (const auto part : {TopSections(), OptimizerSections(), PrecisionSections(), ZeroSections(),
                            StorageSections(), MonitorSections(), ParallelSections(),
                            DataSections(), DroppedSections(), CompressionSections()}) {
      sections.insert(sections.end(), part.begin(), part.end());
    }
    return sections;
  }();
  return all;
}

const ConfigSection* FindConfigSection(std::string_view path, std::string_view type) {
  for (const ConfigSection& section : ConfigSections()) {
    if (section.path != path) continue;
    if (section.variant.empty() || IsConfigWord(section.variant, type, /*any_case=*/true)) {
      return &section;
    }
  }
  return nullptr;
}

bool IsHonouredVariant(const ConfigSection& section) {
  if (section.variant.empty()) return true;
  const ConfigSection& outer = *FindConfigSection(section.path.substr(0, section.path.rfind('.')));
  const std::string_view first = section.variant.substr(0, section.variant.find('|'));
  const ConfigUse& use = FindConfigKey(outer, "type")->use;
  if (use.kind == ConfigUse::Kind::kHonoured) return true;
  return use.neutral.find(fmt::format("\"{}\"", first)) != std::string_view::npos;
}

const ConfigKey* FindConfigKey(const ConfigSection& section, std::string_view name) {
  const auto it = std::find_if(section.keys.begin(), section.keys.end(),
                               [&](const ConfigKey& key) { return key.name == name; });
  return it == section.keys.end() ? nullptr : &*it;
}

const ConfigKey& CanonicalKey(const ConfigSection& section, const ConfigKey& key) {
  if (key.same_as.empty()) return key;
  return *FindConfigKey(section, key.same_as);
}

std::string SuggestConfigKey(const ConfigSection& section, std::string_view name) {
  std::string_view nearest;
  int least = static_cast<int>(name.size() / 3) + 2;
  if (name.size() > 100) return "";  // no spelling of ours, and the distance costs its length
  for (const ConfigKey& key : section.keys) {
    if (const int distance = EditDistance(key.name, name); distance < least) {
      least = distance;
      nearest = key.name;
    }
  }
  // A name that is right elsewhere was put in the wrong place, unless it is everywhere.
  const bool common = name == kEnabled || name == "type" || name == "params";
  const ConfigSection* home = nullptr;
  for (const ConfigSection& other : ConfigSections()) {
    if (common || FindConfigKey(other, name) == nullptr) continue;
    if (home == nullptr || (other.path == section.path && home->path != section.path)) {
      home = &other;
    }
  }
  if (home != nullptr) {
    return fmt::format("; {} is a key of {}{}", name,
                       home->path.empty() ? "the top level" : home->path,
                       home->variant.empty() ? "" : fmt::format(" of type {}", home->variant));
  }
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

std::string ConfigPath(std::string_view section, std::string_view name) {
  return section.empty() ? std::string(name) : fmt::format("{}.{}", section, name);
}

bool SameWord(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Lower(x) == Lower(y); });
}

bool IsConfigWord(std::string_view choices, std::string_view word, bool any_case) {
  while (!choices.empty()) {
    const size_t end = std::min(choices.find('|'), choices.size());
    const std::string_view choice = choices.substr(0, end);
    if (any_case ? SameWord(choice, word) : choice == word) return true;
    choices.remove_prefix(std::min(end + 1, choices.size()));
  }
  return false;
}

}  // namespace ds
