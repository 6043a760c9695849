// Every key of ds_config.json, in one table: type, default, range, what it is, and what becomes of
// it here. The table only tells; config_check.h applies it, config.h reads what is honoured.
//
// To honour one more key: kHonoured in its row, and a line in VisitFields() (config.cc).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ds {

enum class ConfigType : uint8_t {
  kBool,
  kInt,  // may be written 5e8
  kNumber,
  kText,
  kChoice,  // one of the words in `range`
  kWord,    // the same, in upper or lower case
  kPair,    // two numbers
  kList,
  kMap,      // an object with the caller's own names; a section PATH.* describes what is in each
  kSection,  // an object that a section describes
  kAny,
};

// What becomes of a key that is given.
struct ConfigUse {
  enum class Kind : uint8_t {
    kPart,      // belongs to a section that is refused when it is on; alone it asks for nothing
    kHonoured,  // has its effect
    kIdle,      // accepted with any valid value: there is nothing here that it could change
    kRefused,   // refused, but for its default and the neutral values
  };
  Kind kind = Kind::kPart;
  std::string_view reason = {};  // of kIdle and kRefused, and what works instead
  // JSON array: values besides the default that ask for nothing.
  std::string_view neutral = {};
  bool or_null = false;  // null may stand there, and means something else than the default
};
inline constexpr ConfigUse kHonoured = {ConfigUse::Kind::kHonoured};
inline constexpr ConfigUse kHonouredOrNull = {ConfigUse::Kind::kHonoured, {}, {}, true};
constexpr ConfigUse Idle(std::string_view reason) { return {ConfigUse::Kind::kIdle, reason}; }
constexpr ConfigUse Refused(std::string_view reason, std::string_view neutral = "[]") {
  return {ConfigUse::Kind::kRefused, reason, neutral};
}

struct ConfigKey {
  std::string_view name;
  ConfigType type;
  std::string_view standard;  // the default, as JSON; "null": none; "": required, never "auto"
  std::string_view range;     // "[0,)", "(0,1)", "log|linear"; "": any
  std::string_view about;
  ConfigUse use = {};
  std::string_view same_as = {};  // an older or shorter name of this key
};
constexpr ConfigKey OtherName(std::string_view name, std::string_view same_as) {
  return {name, ConfigType::kAny, "null", "", "", {}, same_as};
}

struct ConfigSection {
  std::string_view path;  // "" is the top level; "zero_optimization.offload_param"
  std::span<const ConfigKey> keys;
  // The key that switches the section on, and a JSON array of its values that mean off. While it is
  // off, the other keys ask for nothing.
  std::string_view toggle = {}, off = {};
  std::string_view variant = {};  // "Adam|AdamW": holds beside one of these as "type"
  bool lax = false;   // DeepSpeed reads "2", "yes", 1 here as what they mean (a pydantic model)
  bool open = false;  // may hold keys of others
};
inline constexpr std::string_view kEnabled = "enabled", kFalse = "[false]";

// All sections, the top level first.
std::span<const ConfigSection> ConfigSections();
// `type` chooses between sections that stand beside a "type". Null when there is none.
const ConfigSection* FindConfigSection(std::string_view path, std::string_view type = {});
// The type that chooses the section is one that this release has; true where there is no type.
bool IsHonouredVariant(const ConfigSection& section);
const ConfigKey* FindConfigKey(const ConfigSection& section, std::string_view name);
// The key itself, or the one that it is another name of.
const ConfigKey& CanonicalKey(const ConfigSection& section, const ConfigKey& key);
// "; did you mean X?", "; X is a key of SECTION", or "" when nothing is near.
std::string SuggestConfigKey(const ConfigSection& section, std::string_view name);

// "a.b", or "b" in the top level.
std::string ConfigPath(std::string_view section, std::string_view name);
bool SameWord(std::string_view a, std::string_view b);  // but for the case of letters
bool IsConfigWord(std::string_view choices, std::string_view word, bool any_case);

// The rows, by subject.
std::span<const ConfigSection> TopSections();
std::span<const ConfigSection> OptimizerSections();
std::span<const ConfigSection> PrecisionSections();
std::span<const ConfigSection> ZeroSections();
std::span<const ConfigSection> StorageSections();
std::span<const ConfigSection> MonitorSections();
std::span<const ConfigSection> ParallelSections();
std::span<const ConfigSection> DataSections();
std::span<const ConfigSection> DroppedSections();
std::span<const ConfigSection> CompressionSections();

}  // namespace ds
