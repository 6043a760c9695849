// dspeed config
#include "engine/config.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json_scan.h"
#include "command.h"
#include "engine/config_text.h"
#include "train_plan.h"

namespace ds::tool {
namespace {

struct ConfigFlags {
  std::string file;
  int world = 1;
  std::optional<int64_t> asked_steps;  // --steps
  int64_t steps() const { return asked_steps.value_or(500); }
  int64_t batch = 16;  // as train without --preset and --batch
  bool json = false, schema = false, defaults = false, docs = false;
};

using Lines = std::map<std::string, int>;

// Where what is shown comes from.
struct Origins {
  Lines lines;
  std::map<std::string, std::string> resolved;  // keys that were "auto", and of what run it is
};

// "line 3", or "" for what does not stand in the file.
std::string Line(const Lines& lines, const std::string& path) {
  const auto it = lines.find(path);
  return it == lines.end() ? "" : fmt::format("line {}", it->second);
}

std::string Source(const ConfigEntry& entry, const Origins& origins) {
  const std::string line = Line(origins.lines, entry.path);
  if (const auto at = origins.resolved.find(entry.path); at != origins.resolved.end()) {
    return fmt::format("{}: auto, which train fills in: here {}", line, at->second);
  }
  switch (entry.from) {
    case ConfigEntry::From::kText:
      return line;
    case ConfigEntry::From::kDerived:
      return line.empty() ? "derived" : fmt::format("derived ({})", line);
    case ConfigEntry::From::kDefault:
      if (line.empty()) return "default";
      return fmt::format(
          "default ({}){}", line,
          entry.path == "optimizer.params.lr" ? "; train takes --lr, or its own" : "");
    case ConfigEntry::From::kNoEffect:
      return fmt::format("{}, no effect: {}", line,
                         entry.why.empty() ? "asks for nothing" : entry.why);
  }
  return "";
}

void PrintText(const ConfigReading& reading, const Origins& origins) {
  size_t key_width = 0, value_width = 0;
  const auto entries = ConfigEntries(reading);
  const auto shown = [](const ConfigEntry& entry) {
    std::string text = DumpJson(entry.value, -1);
    if (text.size() > 40) text = text.substr(0, 37) + "...";
    return text;
  };
  for (const ConfigEntry& entry : entries) {
    key_width = std::max(key_width, entry.key.size());
    value_width = std::max(value_width, shown(entry).size());
  }
  for (const ConfigEntry& entry : entries) {
    Say("{:<{}}  {:<{}}  {}\n", entry.key, key_width, shown(entry), value_width,
        Source(entry, origins));
  }
}

void PrintJson(const ConfigReading& reading, const Origins& origins) {
  using Ordered = nlohmann::ordered_json;
  Ordered out = {{"config", nullptr}, {"keys", Ordered::array()}, {"refused", Ordered::array()}};
  if (reading.checked.problems.empty()) {
    out["config"] = reading.config.ToJson();
    for (const ConfigEntry& entry : ConfigEntries(reading)) {
      out["keys"].push_back(
          {{"key", entry.key}, {"value", entry.value}, {"from", Source(entry, origins)}});
    }
  }
  for (const ConfigProblem& problem : reading.checked.problems) {
    const auto line = origins.lines.find(problem.path);
    out["refused"].push_back(
        {{"key", problem.path},
         {"line", line == origins.lines.end() ? Ordered() : Ordered(line->second)},
         {"why", problem.message}});
  }
  Say("{}\n", out.dump(2, ' ', false, Ordered::error_handler_t::replace));
}

// As train does where no number says it.
bool ResolveBatch(int64_t batch, Json& config) {
  const auto is_auto = [&](const char* key) { return config.value(key, Json()) == "auto"; };
  const char *const whole = "train_batch_size", *const micro = "train_micro_batch_size_per_gpu";
  if (!config.is_object() || !is_auto(whole)) return false;
  if (config.contains(micro) && !is_auto(micro)) return false;
  config[whole] = batch;
  return true;
}

Status Show(const ConfigFlags& flags) {
  DS_ASSIGN(const std::string text, ReadFile(flags.file));
  auto json = ParseConfigText(text);
  if (!json.ok()) return Error(Code::kConfig, "{}: {}", flags.file, json.status().message());
  Origins origins{.lines = JsonKeyLines(text), .resolved = {}};
  for (const std::string& key : ResolveSteps(flags.steps(), *json)) {
    origins.resolved[key] = fmt::format("of {} steps (--steps N)", flags.steps());
  }
  if (ResolveBatch(flags.batch, *json)) origins.resolved["train_batch_size"] = "--batch N";
  const ConfigReading reading = ReadConfig(*json, flags.world);
  const auto& problems = reading.checked.problems;
  if (flags.json) {
    PrintJson(reading, origins);
  } else if (problems.empty()) {
    PrintText(reading, origins);
  } else {
    for (const ConfigProblem& problem : problems) {
      const std::string line = Line(origins.lines, problem.path);
      Say("{}{}{}: {}\n", flags.file, line.empty() ? "" : ", ", line, problem.message);
    }
  }
  if (problems.empty()) return {};
  return Error(Code::kConfig, "{}: {} {} refused", flags.file, problems.size(),
               problems.size() == 1 ? "thing is" : "things are");
}

Status Config(const ConfigFlags& flags) {
  if (flags.schema || flags.defaults || flags.docs) {
    if (!flags.file.empty() || flags.schema + flags.defaults + flags.docs > 1) {
      return InvalidArgument("give a FILE, or one of --schema, --defaults and --docs");
    }
    const std::string text = flags.schema     ? ConfigSchema() + "\n"
                             : flags.defaults ? ConfigDefaults() + "\n"
                                              : ConfigDocs();
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};
  }
  if (flags.file.empty()) return InvalidArgument("a FILE is needed: a ds_config.json");
  if (flags.world < 1) return InvalidArgument("--world is {}, expected 1 or more", flags.world);
  // As train takes them.
  if (flags.steps() < 1 || flags.steps() > kMostSteps) {
    return InvalidArgument("--steps is {}, expected 1 to {}", flags.steps(), kMostSteps);
  }
  if (flags.batch < 1 || flags.batch > kMostBatch) {
    return InvalidArgument("--batch is {}, expected 1 to {}", flags.batch, kMostBatch);
  }
  return Show(flags);
}

}  // namespace

void AddConfig(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<ConfigFlags>();
  CLI::App& config = *app.add_subcommand(
      "config", "Show what a ds_config.json comes to, or everything in it that is refused");
  config.add_option("FILE", flags->file, "A ds_config.json");
  config.add_option("--world", flags->world, "Ranks that train")->capture_default_str();
  config.add_option("--steps", flags->asked_steps,
                    "Steps of the run, which \"auto\" in a schedule stands for; default: 500");
  config
      .add_option("--batch", flags->batch,
                  "Sequences of a step, which \"auto\" as train_batch_size stands for")
      ->capture_default_str();
  config.add_flag("--json", flags->json, "As JSON");
  config.add_flag("--schema", flags->schema, "Print a JSON Schema of all keys instead");
  config.add_flag("--defaults", flags->defaults, "Print the default of every key instead");
  config.add_flag("--docs", flags->docs, "Print docs/CONFIG.md instead");
  config.callback([&chosen, flags] { chosen = [flags] { return Config(*flags); }; });
}

}  // namespace ds::tool
