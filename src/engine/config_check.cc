#include "engine/config_check.h"

#include <algorithm>

#include "engine/config_range.h"

namespace ds {
namespace {

using Kind = ConfigUse::Kind;

bool IsAbsent(const Json& object, std::string_view name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() || *it == "auto";
}

bool Contains(std::string_view array, const Json& value) {
  if (array.empty()) return false;
  const Json list = Json::parse(array);
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool IsNeutral(const ConfigKey& key, const Json& value) {
  const bool standard = !key.standard.empty() && value == Json::parse(key.standard);
  return standard || Contains(key.use.neutral, value);
}

bool TakesNull(const ConfigKey& key) {
  return key.type == ConfigType::kSection || key.use.or_null || IsNeutral(key, nullptr);
}

// The value of a key as it would be read: given and valid, or the default.
Json Settled(const ConfigSection& section, const Json& object, std::string_view name) {
  const ConfigKey& key = *FindConfigKey(section, name);
  if (!IsAbsent(object, name)) {
    Json value = NormalConfigValue(key, *object.find(name), section.lax);
    if (!value.is_discarded()) return value;
  }
  return key.standard.empty() ? Json() : Json::parse(key.standard);
}

bool IsOff(const ConfigSection& section, const Json& object) {
  return !section.toggle.empty() && Contains(section.off, Settled(section, object, section.toggle));
}

// One section that is being walked.
struct Place {
  const ConfigSection& section;
  const Json& object;
  std::string path;    // as it is written
  std::string proper;  // the same under proper names
  std::string type;    // the "type" that chose the section
  // Why nothing in it is refused: what is around it is off, or refused as a whole. Names and types
  // count all the same, so that a mistake is found before the section is switched on.
  std::string quiet;
};

class Checker {
 public:
  explicit Checker(CheckedConfig& out) : out_(out) {}

  void Walk(const Place& place, Json& values) {
    const std::string quiet = QuietInside(place);
    for (const auto& [name, value] : place.object.items()) {
      if (const ConfigKey* key = FindConfigKey(place.section, name); key != nullptr) {
        WalkKey(place, place.section.toggle == name ? place.quiet : quiet, quiet, *key, value,
                values);
      } else if (!place.section.open) {
        Unknown(place, name, value);
      }
    }
    // A section that is there asks for what it needs; {} asks for nothing.
    if (quiet.empty() && !(place.object.empty() && place.section.variant.empty())) {
      Require(place, values);
    }
  }

 private:
  // As place.quiet, for all keys but the toggle.
  static std::string QuietInside(const Place& place) {
    const ConfigSection& section = place.section;
    if (!place.quiet.empty() || section.toggle.empty()) return place.quiet;
    const std::string toggle = ConfigPath(place.path, section.toggle);
    if (IsOff(section, place.object)) {
      // More than one value may leave nothing to do: which is said where it is not the plain one.
      const Json value = Settled(section, place.object, section.toggle);
      const bool plain = Json::parse(section.off).front() == value;
      return fmt::format("{} is {}", toggle, plain ? "off" : ShownConfigValue(value));
    }
    const bool refused = FindConfigKey(section, section.toggle)->use.kind == Kind::kRefused;
    return refused ? fmt::format("{} is refused", toggle) : "";
  }

  void Unknown(const Place& place, const std::string& name, const Json& value) {
    const std::string path = ConfigPath(place.path, ShortText(name, 100));
    // A suggestion costs a look at every key; nobody reads the hundredth.
    const bool many = out_.problems.size() >= 100;
    const std::string hint = many ? "" : SuggestConfigKey(place.section, name);
    if (!place.section.variant.empty()) {
      AddProblem(out_, path, "{} = {} is not a parameter of {}{}", path, ShownConfigValue(value),
                 place.type, hint);
      return;
    }
    AddProblem(out_, path, "{} is not a key that this release knows{}", path, hint);
  }

  // Reports the keys that must be there and are not.
  void Require(const Place& place, Json& values) {
    for (const ConfigKey& key : place.section.keys) {
      if (key.type == ConfigType::kSection && IsAbsent(place.object, key.name)) {
        const ConfigSection* child = Child(place, key);
        if (child == nullptr || child->variant.empty()) continue;
        WalkSection(place, "", key, ConfigPath(place.path, key.name), Json::object(),
                    values[std::string(key.name)]);
      } else if (key.standard.empty() && !place.object.contains(key.name)) {
        const std::string path = ConfigPath(place.path, key.name);
        AddProblem(out_, path, "{} is missing{}", path,
                   place.type.empty() ? "" : fmt::format(", which {} needs", place.type));
      }
    }
  }

  void WalkKey(const Place& place, const std::string& quiet, const std::string& quiet_inside,
               const ConfigKey& written, const Json& value, Json& values) {
    const ConfigKey& key = CanonicalKey(place.section, written);
    const std::string path = ConfigPath(place.path, written.name);
    const std::string proper = ConfigPath(place.proper, key.name);
    const bool automatic = value == "auto" && key.standard != "\"auto\"";
    out_.given.push_back({path, proper, value, quiet.empty() ? key.use.kind : Kind::kPart,
                          quiet.empty() ? std::string(key.use.reason) : quiet, automatic});
    const bool twice = &key != &written && !IsAbsent(place.object, key.name);
    if (twice && !IsAbsent(place.object, written.name)) {
      AddProblem(out_, path, "{} and {} are the same key, given as {} and {}",
                 ConfigPath(place.path, key.name), written.name,
                 ShownConfigValue(place.object[std::string(key.name)]), ShownConfigValue(value));
      return;
    }
    if (automatic) {
      if (!key.standard.empty()) return;
      AddProblem(out_, path, "{} is \"auto\", which nothing here can resolve: give {}", path,
                 ConfigExpectation(key));
      return;
    }
    if (value.is_null() && TakesNull(key)) return;
    if (value.is_boolean() && proper == "zero_optimization") {
      values[proper] = {{"stage", value.get<bool>() ? 1 : 0}};  // as the first releases spelt it
      return;
    }
    Json normal = NormalConfigValue(key, value, place.section.lax);
    if (normal.is_discarded()) {
      AddProblem(out_, path, "{} is {}, not {}{}", path, ShownConfigValue(value),
                 ConfigExpectation(key),
                 key.use.kind == Kind::kRefused ? fmt::format("; {}", key.use.reason) : "");
      return;
    }
    std::string around = quiet_inside;
    if (quiet.empty() && IsRefused(place, key, normal)) {
      AddProblem(out_, path, "{} = {} is not supported: {}", path, ShownConfigValue(value),
                 key.use.reason);
      around = fmt::format("{} is refused", path);
    }
    if (key.type == ConfigType::kMap) WalkMap(place, around, key, normal);
    Json& out = values[std::string(key.name)];
    if (key.type == ConfigType::kSection) {
      WalkSection(place, around, key, path, normal, out);
    } else {
      out = std::move(normal);
    }
  }

  static bool IsRefused(const Place& place, const ConfigKey& key, const Json& value) {
    if (key.use.kind != Kind::kRefused || IsNeutral(key, value)) return false;
    const ConfigSection* child = key.type == ConfigType::kSection ? Child(place, key) : nullptr;
    return child == nullptr || !IsOff(*child, value);
  }

  // The section behind a key; for parameters, that of the type beside them.
  static const ConfigSection* Child(const Place& place, const ConfigKey& key) {
    const auto type = place.object.find("type");
    const bool named = type != place.object.end() && type->is_string();
    return FindConfigSection(ConfigPath(place.section.path, key.name),
                             named ? type->get_ref<const std::string&>() : "");
  }

  void WalkSection(const Place& place, std::string quiet, const ConfigKey& key,
                   const std::string& path, const Json& object, Json& values) {
    values = Json::object();
    const ConfigSection* child = Child(place, key);
    if (child == nullptr) return;
    std::string type;
    if (!child->variant.empty()) {
      type = place.object["type"].get<std::string>();
      const ConfigKey& type_key = *FindConfigKey(place.section, "type");
      const Json normal = NormalConfigValue(type_key, type, place.section.lax);
      const bool refused = type_key.use.kind == ConfigUse::Kind::kRefused;
      if (quiet.empty() && refused && !IsNeutral(type_key, normal)) {
        quiet = fmt::format("{} is refused", ConfigPath(place.path, "type"));
      }
    }
    Walk({*child, object, path, ConfigPath(place.proper, key.name), type, std::move(quiet)},
         values);
  }

  // The names in a map are the caller's; what stands under each may be a section.
  void WalkMap(const Place& place, const std::string& quiet, const ConfigKey& key,
               const Json& map) {
    const std::string pattern = ConfigPath(ConfigPath(place.section.path, key.name), "*");
    const ConfigSection* section = FindConfigSection(pattern);
    if (section == nullptr) return;
    for (const auto& [name, value] : map.items()) {
      const std::string path = ConfigPath(ConfigPath(place.path, key.name), name);
      if (!value.is_object()) {
        AddProblem(out_, path, "{} is {}, not an object", path, ShownConfigValue(value));
        continue;
      }
      Json unread = Json::object();
      Walk({*section, value, path, path, "", quiet}, unread);
    }
  }

  CheckedConfig& out_;
};

}  // namespace

bool CheckedConfig::automatic(std::string_view key) const {
  return std::any_of(given.begin(), given.end(),
                     [&](const GivenConfigKey& g) { return g.key == key && g.automatic; });
}

bool CheckedConfig::undecided(std::string_view key) const {
  return std::any_of(given.begin(), given.end(), [&](const GivenConfigKey& g) {
    return g.key == key && (g.automatic || g.value.is_null());
  });
}

bool CheckedConfig::wrong(std::string_view key) const {
  return std::any_of(problems.begin(), problems.end(), [&](const ConfigProblem& problem) {
    return problem.path == key || problem.path.starts_with(fmt::format("{}.", key));
  });
}

CheckedConfig CheckConfig(const Json& json) {
  CheckedConfig checked;
  Checker(checked).Walk({*FindConfigSection(""), json, "", "", "", ""}, checked.values);
  return checked;
}

}  // namespace ds
