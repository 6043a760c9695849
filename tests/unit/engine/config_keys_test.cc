// Every row of the table of keys does what it says: honoured, idle, refused, or part of a section.
#include "engine/config_keys.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/config.h"
#include "engine/config_range.h"

namespace ds {
namespace {

using Kind = ConfigUse::Kind;

std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t end = std::min(path.find('.'), path.size());
    parts.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

std::string FirstWord(std::string_view words) {
  return std::string(words.substr(0, words.find('|')));
}

// The section that holds `section`; null at the top.
const ConfigSection* Parent(const ConfigSection& section) {
  if (section.path.empty()) return nullptr;
  std::string_view path = section.path;
  if (path.ends_with(".*")) path.remove_suffix(2);
  const size_t dot = path.rfind('.');
  return FindConfigSection(dot == path.npos ? "" : path.substr(0, dot));
}

// Every toggle on the way to the section stands on `on`; `value` is the section itself.
Json Document(const ConfigSection& section, Json value) {
  if (section.path.empty()) return value;
  std::vector<std::string> parts = Split(section.path);
  for (size_t i = parts.size(); i-- > 0;) {
    Json outer = {{parts[i] == "*" ? "any" : parts[i], std::move(value)}};
    if (i + 1 == parts.size() && !section.variant.empty()) {
      outer["type"] = FirstWord(section.variant);
    }
    value = std::move(outer);
  }
  return value;
}

// A valid value that is neither the default nor neutral; discarded when there is none.
Json OtherValue(const ConfigKey& key, bool lax) {
  std::vector<Json> candidates = {true,
                                  false,
                                  3,
                                  2,
                                  0,
                                  0.5,
                                  12345,
                                  "word",
                                  Json::array({"x"}),
                                  Json::array({0.5, 0.25}),
                                  Json::object({{"x", 1}})};
  for (const std::string& word : ConfigChoices(key)) candidates.push_back(word);
  const Json neutral = key.use.neutral.empty() ? Json::array() : Json::parse(key.use.neutral);
  const Json standard = key.standard.empty() ? Json() : Json::parse(key.standard);
  for (const Json& each : candidates) {
    const bool fits = each.type() != Json::value_t::number_integer ||
                      key.type != ConfigType::kBool;  // lax sections take 0 and 1
    const Json value = NormalConfigValue(key, each, lax);
    if (!fits || value.is_discarded() || value == standard) continue;
    if (std::find(neutral.begin(), neutral.end(), value) == neutral.end()) return value;
  }
  return Json(Json::value_t::discarded);
}

std::vector<ConfigProblem> Problems(const Json& json) {
  return ReadConfig(json, 1).checked.problems;
}

std::string Text(const std::vector<ConfigProblem>& problems) {
  std::string text;
  for (const ConfigProblem& problem : problems) text += problem.message + "\n";
  return text;
}

bool TypeIsHonoured(const ConfigSection& section) {
  if (section.variant.empty()) return true;
  const ConfigKey& type = *FindConfigKey(*Parent(section), "type");
  if (type.use.kind == Kind::kHonoured) return true;
  return type.use.neutral.find('"' + FirstWord(section.variant) + '"') != std::string::npos;
}

// A document in which the key has this value, and what its section needs beside it.
Json With(const ConfigSection& section, const ConfigKey& key, const Json& value) {
  Json object = {{std::string(key.name), value}};
  if (FindConfigKey(section, "total_num_steps") != nullptr && key.name != "total_num_steps") {
    object["total_num_steps"] = 10;
  }
  if (section.variant == "OneCycle") {
    for (const char* rate : {"cycle_min_lr", "cycle_max_lr"}) object.emplace(rate, 0.125);
  }
  if (section.path == "optimizer" || section.path == "scheduler") {
    if (key.name != "type") object["type"] = section.path == "optimizer" ? "Adam" : "WarmupLR";
  }
  if (key.name == "gradient_accumulation_steps") object["train_micro_batch_size_per_gpu"] = 1;
  const bool switched = section.path == "bf16" || section.path == "fp16" ||
                        section.path == "tensorboard" || section.path == "csv_monitor";
  if (switched && key.name != "enabled" && key.use.kind != Kind::kIdle) object["enabled"] = true;
  if (key.name == "zero_hpz_partition_size" || key.name == "mics_shard_size") object["stage"] = 3;
  if (key.name == "nesterov") object["momentum"] = 0.5;
  return Document(section, object);
}

Json Without(Json document, const ConfigSection& section, const ConfigKey& key) {
  Json* at = &document;
  for (const std::string& part : Split(section.path)) at = &(*at)[part == "*" ? "any" : part];
  at->erase(std::string(key.name));
  return document;
}

template <typename Visit>
void ForEachKey(Visit&& visit) {
  for (const ConfigSection& section : ConfigSections()) {
    for (const ConfigKey& key : section.keys) visit(section, key);
  }
}

TEST(ConfigKeys, RowsAreWellFormed) {
  std::set<std::string> seen;
  ForEachKey([&](const ConfigSection& section, const ConfigKey& key) {
    const std::string path = ConfigPath(section.path, key.name);
    EXPECT_TRUE(seen.insert(path + std::string(section.variant)).second) << path << " twice";
    if (!key.same_as.empty()) {
      const ConfigKey* target = FindConfigKey(section, key.same_as);
      ASSERT_NE(target, nullptr) << path;
      EXPECT_TRUE(target->same_as.empty()) << path;
      return;
    }
    EXPECT_FALSE(key.about.empty()) << path;
    if (!key.standard.empty()) {
      const Json standard = Json::parse(key.standard, nullptr, false);
      ASSERT_FALSE(standard.is_discarded()) << path;
      const bool valid = !NormalConfigValue(key, standard, false).is_discarded();
      EXPECT_TRUE(standard.is_null() || standard == "auto" || valid) << path << " " << standard;
    }
    if (!key.use.neutral.empty()) {
      for (const Json& value : Json::parse(key.use.neutral)) {
        const bool valid = !NormalConfigValue(key, value, false).is_discarded();
        EXPECT_TRUE(value.is_null() || valid) << path << " " << value;
      }
    }
    const bool has_reason = key.use.kind == Kind::kRefused || key.use.kind == Kind::kIdle;
    EXPECT_EQ(has_reason, !key.use.reason.empty()) << path;
    if (key.type == ConfigType::kSection && key.use.kind != Kind::kRefused) {
      bool found = false;
      for (const ConfigSection& child : ConfigSections()) found = found || child.path == path;
      EXPECT_TRUE(found) << path << " has no section";
    }
  });
  for (const ConfigSection& section : ConfigSections()) {
    if (const ConfigSection* parent = Parent(section); parent != nullptr) {
      std::vector<std::string> parts = Split(section.path);
      if (parts.back() == "*") parts.pop_back();
      EXPECT_NE(FindConfigKey(*parent, parts.back()), nullptr) << section.path;
    }
    if (!section.toggle.empty()) {
      EXPECT_NE(FindConfigKey(section, section.toggle), nullptr) << section.path;
    }
  }
}

// A key that is only part of a section would be ignored if nothing around it could be refused.
TEST(ConfigKeys, PartsBelongToSomethingThatIsRefused) {
  ForEachKey([](const ConfigSection& section, const ConfigKey& key) {
    if (key.use.kind != Kind::kPart || !key.same_as.empty()) return;
    if (key.type == ConfigType::kSection) return;  // its own keys are looked at
    bool refused = !TypeIsHonoured(section);
    for (const ConfigSection* s = &section; s != nullptr && !s->path.empty(); s = Parent(*s)) {
      for (const ConfigKey& each : s->keys) refused = refused || each.use.kind == Kind::kRefused;
      const std::string name = Split(s->path).back();
      const ConfigSection* parent = Parent(*s);
      const ConfigKey* row = parent == nullptr ? nullptr : FindConfigKey(*parent, name);
      refused = refused || (row != nullptr && row->use.kind == Kind::kRefused);
      // Compression: the switch stands in shared_parameters, beside the groups.
      refused = refused || s->path.find("different_groups") != std::string::npos;
    }
    EXPECT_TRUE(refused) << ConfigPath(section.path, key.name);
  });
}

TEST(ConfigKeys, RefusedOnesSayWhyAndTakeWhatAsksForNothing) {
  int refused = 0;
  ForEachKey([&](const ConfigSection& section, const ConfigKey& key) {
    if (key.use.kind != Kind::kRefused || !TypeIsHonoured(section)) return;
    const std::string path = ConfigPath(section.path, key.name);
    const Json other = OtherValue(key, section.lax);
    if (!other.is_discarded()) {
      ++refused;
      const Json document = With(section, key, other);
      const std::string text = Text(Problems(document));
      EXPECT_NE(text.find(path), std::string::npos) << document << ": " << text;
      EXPECT_NE(text.find(key.use.reason), std::string::npos) << document << ": " << text;
    } else {
      ADD_FAILURE() << path << ": no value is refused";
    }
    Json neutral = key.use.neutral.empty() ? Json::array() : Json::parse(key.use.neutral);
    if (!key.standard.empty()) {
      neutral.push_back(Json::parse(key.standard));
      neutral.push_back("auto");
    }
    for (const Json& value : neutral) {
      const Json document = With(section, key, value);
      const std::string text = Text(Problems(document));
      EXPECT_EQ(text, "") << document;
    }
  });
  EXPECT_GT(refused, 70);
}

TEST(ConfigKeys, IdleOnesTakeEveryValidValue) {
  int idle = 0;
  ForEachKey([&](const ConfigSection& section, const ConfigKey& key) {
    if (key.use.kind != Kind::kIdle) return;
    ++idle;
    const Json document = With(section, key, OtherValue(key, section.lax));
    EXPECT_EQ(Text(Problems(document)), "") << document;
    EXPECT_EQ(ReadConfig(document, 1).config.ToJson(),
              ReadConfig(Without(document, section, key), 1).config.ToJson())
        << document;
  });
  EXPECT_GT(idle, 20);
}

TEST(ConfigKeys, PartsCountOnlyWhereTheirSectionIsOn) {
  int parts = 0;
  ForEachKey([&](const ConfigSection& section, const ConfigKey& key) {
    if (key.use.kind != Kind::kPart || section.toggle.empty() || !key.same_as.empty()) return;
    const ConfigKey& toggle = *FindConfigKey(section, section.toggle);
    if (toggle.use.kind != Kind::kRefused) return;
    ++parts;
    const Json other = OtherValue(key, section.lax);
    const std::string name(key.name), on(section.toggle);
    Json off_values = Json::parse(section.off);
    Json off = {{name, other}, {on, off_values[0]}};
    EXPECT_EQ(Text(Problems(Document(section, off))), "") << off;
    Json with = {{name, other}, {on, OtherValue(toggle, section.lax)}};
    const std::string text = Text(Problems(Document(section, with)));
    EXPECT_NE(text.find(ConfigPath(section.path, on)), std::string::npos) << with << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;  // one cause, one refusal
    // A mistake is found although the section is off.
    off["no_such_key"] = 1;
    const std::string typo = Text(Problems(Document(section, off)));
    EXPECT_EQ(typo.find("no_such_key") != std::string::npos, !section.open) << typo;
  });
  EXPECT_GT(parts, 90);
}

TEST(ConfigKeys, OtherNamesMeanTheSame) {
  ForEachKey([](const ConfigSection& section, const ConfigKey& key) {
    if (key.same_as.empty()) return;
    const ConfigKey& proper = CanonicalKey(section, key);
    Json value = OtherValue(proper, section.lax);
    if (proper.name == "bf16") value = {{"enabled", true}};
    const auto one = ReadConfig(With(section, key, value), 1);
    const auto two = ReadConfig(With(section, proper, value), 1);
    EXPECT_EQ(one.config.ToJson(), two.config.ToJson());
    EXPECT_EQ(one.checked.problems.size(), two.checked.problems.size());
    Json both = {{std::string(key.name), value}, {std::string(proper.name), value}};
    const std::string text = Text(Problems(Document(section, both)));
    EXPECT_NE(text.find("same key"), std::string::npos) << both << text;
  });
}

// Honoured keys that hold a value: another one is seen in the resolved config.
TEST(ConfigKeys, HonouredOnesHaveTheirEffect) {
  int honoured = 0;
  ForEachKey([&](const ConfigSection& section, const ConfigKey& key) {
    if (key.use.kind != Kind::kHonoured || !TypeIsHonoured(section)) return;
    if (key.type == ConfigType::kSection || key.type == ConfigType::kMap) return;
    ++honoured;
    Json other = OtherValue(key, section.lax);
    if (key.name == "warmup_type") other = "linear";
    if (key.type == ConfigType::kAny) other = 0.25;  // rates
    Json document = With(section, key, other);
    if (section.path == "scheduler" && other == "OneCycle") {
      document["scheduler"]["params"] = {{"cycle_min_lr", 0.125}, {"cycle_max_lr", 0.25}};
    }
    if (key.name == "adam_w_mode" && section.variant == "AdamW|Adam") {
      document["optimizer"]["type"] = "Adam";  // the other one always does
    }
    const bool groups = key.name.find("size") != std::string_view::npos && other == 3;
    const ConfigReading reading = ReadConfig(document, groups ? 3 : 1);
    EXPECT_EQ(Text(reading.checked.problems), "") << document;
    const Json resolved = reading.config.ToJson();
    std::string pointer = "/";
    for (const char c : ConfigPath(section.path, key.name)) pointer += c == '.' ? '/' : c;
    const Json::json_pointer at(pointer);
    ASSERT_TRUE(resolved.contains(at)) << pointer << resolved;
    EXPECT_EQ(resolved.at(at), other) << document;
  });
  EXPECT_GE(honoured, 33);
}

TEST(ConfigKeys, WrongTypesNeverCrash) {
  const char* values[] = {"null",
                          "true",
                          "-1",
                          "1e308",
                          "\"x\"",
                          "[]",
                          "[1]",
                          "{}",
                          "{\"enabled\":3}",
                          "\"auto\"",
                          "[[[]]]",
                          "1.5",
                          "99999999999999999999"};
  ForEachKey([&](const ConfigSection& section, const ConfigKey& key) {
    for (const char* value : values) {
      Json object = {{std::string(key.name), Json::parse(value)}};
      (void)ParseConfig(Document(section, object).dump(), 2).ok();
      // Where it does not belong, which is told without a look at the value.
      if (section.path.empty() || value != values[0]) continue;
      (void)ParseConfig(object.dump(), 2).ok();
    }
  });
}

}  // namespace
}  // namespace ds
