// docs/CONFIG.md from the table of keys.
#include <algorithm>

#include "engine/config_range.h"
#include "engine/config_text.h"

namespace ds {
namespace {

using Kind = ConfigUse::Kind;

constexpr const char* kIntroduction = R"(# ds_config.json

Made by `dspeed config --docs` from the table in `src/engine/config_keys.h`; do not edit.

Every key of DeepSpeed 0.19.8, and those it dropped since 0.19.6, is known. A key is

- **honoured**: it has its effect;
- *idle*: any valid value is accepted, because there is nothing here that it could change;
- *refused*, by name, with what works instead; its default and the neutral values are accepted;
- *part* of a section that is refused when it is switched on; while the section is off, its keys may
  have any valid values.

A key that is not here is refused with a suggestion, as is a key that stands twice. `"auto"` means
the default, or what follows from other keys; a key without a default refuses it. `dspeed train` knows
more: the learning rate and the steps of a schedule that are `"auto"` are those of the run. The text may
have comments (`//`, `/* */`, `#`) and a comma behind the last element. Whole numbers may be written
`5e8`, and have to fit 64 bits.
Sections marked *lax* read `"2"`, `"yes"` and `1` for what they mean, as DeepSpeed does there.

`dspeed config FILE --world N` shows what a file comes to. `ds_config_schema()` and
`dspeed config --schema` give a JSON Schema for editors.
)";

std::string Cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string Use(const ConfigKey& key, bool reached) {
  switch (key.use.kind) {
    case Kind::kHonoured:
      if (!reached) return "part";
      return key.type == ConfigType::kSection || key.type == ConfigType::kMap ? "section"
                                                                              : "**honoured**";
    case Kind::kIdle:
      return fmt::format("*idle*: {}", key.use.reason);
    case Kind::kRefused: {
      std::string neutral = "";
      for (const Json& value :
           Json::parse(key.use.neutral.empty() ? std::string_view("[]") : key.use.neutral)) {
        neutral += fmt::format("{}`{}`", neutral.empty() ? "" : ", ", value.dump());
      }
      return fmt::format("*refused*: {}{}", key.use.reason,
                         neutral.empty() ? "" : fmt::format(" (neutral: {})", neutral));
    }
    case Kind::kPart:
      return key.type == ConfigType::kSection ? "section" : "part";
  }
  return "";
}

std::string Takes(const ConfigKey& key) {
  if (key.type == ConfigType::kAny) return "any";
  return ConfigExpectation(key) + (key.use.or_null ? ", or null" : "");
}

std::string Row(const ConfigKey& key, bool reached) {
  if (!key.same_as.empty()) {
    return fmt::format("| `{}` | | | the same as `{}` | |\n", key.name, key.same_as);
  }
  const bool bare = key.type == ConfigType::kSection || key.standard == "null";
  const std::string standard = key.standard.empty() ? "required"
                               : bare               ? ""
                                                    : fmt::format("`{}`", key.standard);
  return fmt::format("| `{}` | {} | {} | {} | {} |\n", key.name, Cell(Takes(key)), standard,
                     Cell(key.about), Cell(Use(key, reached)));
}

}  // namespace

std::string ConfigDocs() {
  std::string text = kIntroduction;
  for (const ConfigSection& section : ConfigSections()) {
    std::string title = section.path.empty() ? "The top level" : fmt::format("`{}`", section.path);
    if (!section.variant.empty()) title += fmt::format(" of type {}", Cell(section.variant));
    text += fmt::format("\n## {}\n\n", title);
    if (!section.toggle.empty()) {
      text += fmt::format("Off while `{}` is one of `{}`.{}\n\n", section.toggle, section.off,
                          section.lax ? " *Lax.*" : "");
    } else if (section.lax) {
      text += "*Lax.*\n\n";
    }
    text += "| key | takes | default | what it is | here |\n|---|---|---|---|---|\n";
    for (const ConfigKey& key : section.keys) text += Row(key, IsHonouredVariant(section));
  }
  return text;
}

}  // namespace ds
