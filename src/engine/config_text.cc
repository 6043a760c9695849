#include "engine/config_text.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "engine/config_range.h"

namespace ds {
namespace {

using Kind = ConfigUse::Kind;
using Ordered = nlohmann::ordered_json;

// In the order of the table.
Ordered InOrder(std::string_view json) { return Ordered::parse(json); }

std::vector<const ConfigSection*> Children(std::string_view path) {
  std::vector<const ConfigSection*> found;
  for (const ConfigSection& section : ConfigSections()) {
    if (section.path == path) found.push_back(&section);
  }
  return found;
}

// Words in upper or lower case, for which JSON Schema has no flag.
Ordered WordSchema(const std::vector<std::string>& words) {
  std::string pattern;
  for (const std::string& word : words) {
    if (!pattern.empty()) pattern += '|';
    for (const char c : word) {
      const char low = static_cast<char>(std::tolower(c)), up = static_cast<char>(std::toupper(c));
      pattern += low == up ? std::string(1, c) : fmt::format("[{}{}]", up, low);
    }
  }
  return {{"type", "string"}, {"pattern", fmt::format("^({})$", pattern)}};
}

Ordered SectionSchema(const ConfigSection& section);

// What the key takes, whether or not it is refused.
Ordered ValueSchema(const ConfigSection& section, const ConfigKey& key) {
  const std::string path = ConfigPath(section.path, key.name);
  switch (key.type) {
    case ConfigType::kBool:
      return {{"type", "boolean"}};
    case ConfigType::kInt:
    case ConfigType::kNumber: {
      Ordered schema = {{"type", key.type == ConfigType::kInt ? "integer" : "number"}};
      const ConfigRange range = ParseConfigRange(key.range);
      if (std::isfinite(range.least)) {
        schema[range.above_least ? "exclusiveMinimum" : "minimum"] = range.least;
      }
      if (std::isfinite(range.most)) {
        schema[range.below_most ? "exclusiveMaximum" : "maximum"] = range.most;
      }
      return schema;
    }
    case ConfigType::kText:
      return {{"type", "string"}};
    case ConfigType::kChoice:
      return {{"enum", ConfigChoices(key)}};
    case ConfigType::kWord:
      return WordSchema(ConfigChoices(key));
    case ConfigType::kPair:
      return {{"type", "array"}, {"items", {{"type", "number"}}}, {"minItems", 2}, {"maxItems", 2}};
    case ConfigType::kList:
      return {{"type", "array"}};
    case ConfigType::kMap: {
      const auto each = Children(ConfigPath(path, "*"));
      if (each.empty()) return {{"type", "object"}};
      return {{"type", "object"}, {"additionalProperties", SectionSchema(*each.front())}};
    }
    case ConfigType::kSection: {
      Ordered any = Ordered::array();
      for (const ConfigSection* child : Children(path)) any.push_back(SectionSchema(*child));
      if (any.size() == 1) return any[0];
      return {{"anyOf", any}};
    }
    case ConfigType::kAny:
      break;
  }
  return Ordered::object();
}

// The values that do not ask for anything.
Ordered NeutralValues(const ConfigKey& key) {
  Ordered values = Ordered::array();
  const auto add = [&](const Ordered& value) {
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  };
  if (!key.standard.empty()) add(InOrder(key.standard));
  if (!key.use.neutral.empty()) {
    for (const Ordered& value : InOrder(key.use.neutral)) add(value);
  }
  return values;
}

Ordered KeySchema(const ConfigSection& section, const ConfigKey& written) {
  const ConfigKey& key = CanonicalKey(section, written);
  Ordered any = Ordered::array();
  const bool scalar = key.type != ConfigType::kSection && key.type != ConfigType::kMap;
  const bool closed = key.use.kind == Kind::kRefused && scalar && IsHonouredVariant(section);
  if (closed && key.type == ConfigType::kWord) {
    std::vector<std::string> words;
    for (const Ordered& value : NeutralValues(key)) {
      if (value.is_string()) words.push_back(value);
    }
    if (!words.empty()) any.push_back(WordSchema(words));
  } else if (closed) {
    any.push_back({{"enum", NeutralValues(key)}});
  } else {
    any.push_back(ValueSchema(section, key));
  }
  if (!key.standard.empty()) any.push_back({{"const", "auto"}});
  if (key.standard == "null" || key.type == ConfigType::kSection || key.use.or_null) {
    any.push_back({{"type", "null"}});
  }
  if (section.path.empty() && key.name == "zero_optimization") {
    any.push_back({{"type", "boolean"}});
  }
  Ordered schema;
  schema["description"] = std::string(key.about);
  if (&key != &written) schema["description"] = fmt::format("The same as {}.", key.name);
  if (key.use.kind == Kind::kRefused) {
    schema["description"] = fmt::format("{}. Not supported: {}.", key.about, key.use.reason);
  }
  if (key.standard != "null" && !key.standard.empty()) schema["default"] = InOrder(key.standard);
  schema["anyOf"] = any;
  return schema;
}

Ordered SectionSchema(const ConfigSection& section) {
  Ordered properties = Ordered::object(), required = Ordered::array();
  for (const ConfigKey& key : section.keys) {
    properties[std::string(key.name)] = KeySchema(section, key);
    if (key.standard.empty() && !section.variant.empty() && IsHonouredVariant(section)) {
      required.push_back(std::string(key.name));
    }
  }
  Ordered schema = {{"type", "object"}};
  if (!section.variant.empty()) schema["title"] = fmt::format("type {}", section.variant);
  schema["properties"] = std::move(properties);
  if (!section.open) schema["additionalProperties"] = false;
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

Ordered SectionDefaults(const ConfigSection& section) {
  Ordered values = Ordered::object();
  for (const ConfigKey& key : section.keys) {
    const std::string name(key.name);
    const auto children = key.type == ConfigType::kSection
                              ? Children(ConfigPath(section.path, key.name))
                              : std::vector<const ConfigSection*>();
    if (key.use.kind == Kind::kRefused && !children.empty()) {
      values[name] = nullptr;  // the section alone would ask for something
    } else if (name == "scheduler") {
      values[name] = nullptr;  // none unless it is named
    } else if (name == "type") {
      values[name] = InOrder(key.use.neutral)[0];
    } else if (!children.empty()) {
      values[name] = SectionDefaults(*children.front());
    } else if (key.same_as.empty() && !key.standard.empty()) {
      values[name] = InOrder(key.standard);
    }
  }
  return values;
}

// A path of ToJson() that is given under this name.
const GivenConfigKey* FindGiven(const CheckedConfig& checked, const std::string& key) {
  for (const GivenConfigKey& given : checked.given) {
    if (given.key == key) return &given;
  }
  return nullptr;
}

void Flatten(const Json& json, const std::string& path, std::vector<ConfigEntry>& out) {
  for (const auto& [name, value] : json.items()) {
    const std::string key = ConfigPath(path, name);
    if (value.is_object()) {
      Flatten(value, key, out);
    } else {
      out.push_back({key, value, ConfigEntry::From::kDefault, "", ""});
    }
  }
}

// The default of a key in the section that the config's types choose; null when it has none.
Json StandardOf(const Json& resolved, const std::string& key) {
  const size_t dot = key.rfind('.');
  const std::string path = dot == key.npos ? "" : key.substr(0, dot);
  std::string type;
  if (const size_t outer = path.rfind('.'); outer != path.npos) {
    type = resolved.at(path.substr(0, outer)).value("type", "");
  }
  const ConfigSection* section = FindConfigSection(path, type);
  const ConfigKey* row = section == nullptr
                             ? nullptr
                             : FindConfigKey(*section, dot == key.npos ? key : key.substr(dot + 1));
  return row == nullptr || row->standard.empty() ? Json() : Json::parse(row->standard);
}

}  // namespace

std::string ConfigSchema() {
  Ordered schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                    {"title", "ds_config.json"}};
  schema.update(SectionSchema(*FindConfigSection("")));
  return schema.dump(2);
}

std::string ConfigDefaults() { return SectionDefaults(*FindConfigSection("")).dump(2); }

std::vector<ConfigEntry> ConfigEntries(const ConfigReading& reading) {
  using From = ConfigEntry::From;
  const Json resolved = reading.config.ToJson();
  std::vector<ConfigEntry> entries;
  Flatten(resolved, "", entries);
  for (ConfigEntry& entry : entries) {
    const GivenConfigKey* given = FindGiven(reading.checked, entry.key);
    if (given != nullptr) entry.path = given->path;
    const bool stands = given != nullptr && !given->automatic && !given->value.is_null();
    if (stands && !reading.checked.wrong(given->path)) {
      entry.from = From::kText;
    } else if (entry.value != StandardOf(resolved, entry.key)) {
      entry.from = From::kDerived;
    }
  }
  std::sort(entries.begin(), entries.end(), [](const ConfigEntry& a, const ConfigEntry& b) {
    // The top level first, then section by section.
    const auto top = [](const ConfigEntry& e) { return e.key.find('.') == std::string::npos; };
    if (top(a) != top(b)) return top(a);
    return a.key < b.key;
  });
  for (const GivenConfigKey& given : reading.checked.given) {
    if (given.kind == Kind::kHonoured || reading.checked.wrong(given.path)) continue;
    if (given.value.is_object() && !given.value.empty() && given.kind != Kind::kIdle) continue;
    const bool shown = std::any_of(entries.begin(), entries.end(), [&](const ConfigEntry& e) {
      return e.key == given.key && e.from == From::kText;
    });
    if (!shown) entries.push_back({given.key, given.value, From::kNoEffect, given.path, given.why});
  }
  return entries;
}

}  // namespace ds
