#include "engine/config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "engine/config_keys.h"

namespace ds {
namespace {

using Json = nlohmann::json;

std::string Path(std::string_view section, std::string_view name) {
  return section.empty() ? std::string(name) : fmt::format("{}.{}", section, name);
}

template <typename... Args>
Status ConfigError(fmt::format_string<Args...> format, Args&&... args) {
  return Error(Code::kConfig, "config: {}", fmt::format(format, std::forward<Args>(args)...));
}

// One section of the text. Reads remember nothing: CheckKeys() settles what may be in it, and a
// missing key leaves the value as it is.
class Section {
 public:
  Section(std::string name, const Json& json) : name_(std::move(name)), json_(json) {}

  bool has(const char* key) const {
    return json_.contains(key) && !json_[key].is_null() && json_[key] != "auto";
  }

  Status CheckKeys() const {
    if (!json_.is_object()) return ConfigError("{} is {}, not an object", name_, json_.dump());
    for (const auto& [key, value] : json_.items()) {
      const ConfigKey* known = FindConfigKey(name_, key);
      if (known == nullptr) {
        const std::string near = NearestConfigKey(name_, key);
        return ConfigError("{} is not a key that this release knows{}", Path(name_, key),
                           near.empty() ? "" : fmt::format("; did you mean {}?", near));
      }
      if (known->refusal.empty()) continue;
      const Json neutral = Json::parse(known->neutral);
      if (std::find(neutral.begin(), neutral.end(), value) != neutral.end()) continue;
      if (value.is_object() && value.value("enabled", Json()) == false) continue;
      return ConfigError("{} = {} is not supported: {}", Path(name_, key), value.dump(),
                         known->refusal);
    }
    return {};
  }

  Status Read(const char* key, bool& out) const {
    if (!has(key)) return {};
    if (!json_[key].is_boolean()) return Wrong(key, "true or false");
    out = json_[key];
    return {};
  }

  // Whole numbers may be written as 5e8.
  Status Read(const char* key, int64_t& out, int64_t least) const {
    if (!has(key)) return {};
    const Json& value = json_[key];
    const double number = value.is_number() ? value.get<double>() : std::nan("");
    if (number != std::floor(number) || std::abs(number) > 9e15) {
      return Wrong(key, "a whole number");
    }
    if (number < static_cast<double>(least)) {
      return Wrong(key, fmt::format("a whole number of at least {}", least).c_str());
    }
    out = static_cast<int64_t>(number);
    return {};
  }

  Status Read(const char* key, double& out, double least, double below) const {
    if (!has(key)) return {};
    const double number = json_[key].is_number() ? json_[key].get<double>() : std::nan("");
    if (!(number >= least && number < below)) {
      return Wrong(key, fmt::format("a number in [{:g}, {:g})", least, below).c_str());
    }
    out = number;
    return {};
  }

  // A key under its name or its alias, not both.
  Status ReadAliased(const char* key, const char* alias, int64_t& out) const {
    if (has(key) && has(alias)) {
      return ConfigError("{} and {} are the same key, given as {} and {}", Path(name_, key), alias,
                         json_[key].dump(), json_[alias].dump());
    }
    return Read(has(alias) ? alias : key, out, 0);
  }

  Status Wrong(const char* key, const char* expected) const {
    return ConfigError("{} is {}, not {}", Path(name_, key), json_[key].dump(), expected);
  }

  const Json& json() const { return json_; }

 private:
  const std::string name_;
  const Json& json_;
};

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// The batch triangle: train = micro * accumulation * world, given any enough of the three
// (deepspeed/runtime/config.py, _batch_assertion and _set_batch_related_parameters).
Status ReadBatch(const Section& top, int world, EngineConfig& config) {
  int64_t train = 0, micro = 0, steps = 0;
  DS_TRY(top.Read("train_batch_size", train, 1));
  DS_TRY(top.Read("train_micro_batch_size_per_gpu", micro, 1));
  DS_TRY(top.Read("gradient_accumulation_steps", steps, 1));
  if (train == 0 && micro == 0) {
    if (steps != 0) {
      return ConfigError(
          "gradient_accumulation_steps = {} needs train_batch_size or "
          "train_micro_batch_size_per_gpu beside it",
          steps);
    }
    micro = 1;
  }
  if (train != 0 && micro != 0 && steps == 0) {
    steps = train / micro / world;
  } else if (train != 0 && micro == 0) {
    if (steps == 0) steps = 1;
    micro = train / world / steps;
  } else if (train == 0) {
    if (steps == 0) steps = 1;
    train = micro * steps * world;
  }
  if (micro < 1 || steps < 1 || train != micro * steps * world) {
    return ConfigError(
        "train_batch_size {} is not train_micro_batch_size_per_gpu {} * "
        "gradient_accumulation_steps {} * {} ranks",
        train, micro, steps, world);
  }
  config.train_batch = train;
  config.micro_batch = micro;
  config.accumulation = steps;
  return {};
}

Result<std::string> ReadType(const Json& json, const char* section) {
  if (!json.contains("type") || !json["type"].is_string()) {
    return ConfigError("{}.type is missing, or not a string", section);
  }
  return json["type"].get<std::string>();
}

Status ReadOptimizer(const Json& json, optim::AdamWOptions& out) {
  DS_TRY(Section("optimizer", json).CheckKeys());
  DS_ASSIGN(const std::string type, ReadType(json, "optimizer"));
  std::string lower = type;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower != "adam" && lower != "adamw") {
    return ConfigError("optimizer.type is \"{}\"; this release has Adam and AdamW", type);
  }
  const Json params = json.value("params", Json::object());
  const Section section("optimizer.params", params);
  DS_TRY(section.CheckKeys());
  DS_TRY(section.Read("lr", out.lr, 0, kNoLimit));
  DS_TRY(section.Read("eps", out.eps, 0, kNoLimit));
  DS_TRY(section.Read("weight_decay", out.weight_decay, 0, kNoLimit));
  DS_TRY(section.Read("bias_correction", out.bias_correction));
  if (section.has("betas")) {
    const Json& betas = params["betas"];
    const auto valid = [](const Json& b) { return b.is_number() && b >= 0.0 && b < 1.0; };
    if (!betas.is_array() || betas.size() != 2 || !valid(betas[0]) || !valid(betas[1])) {
      return section.Wrong("betas", "two numbers in [0, 1)");
    }
    out.beta1 = betas[0];
    out.beta2 = betas[1];
  }
  DS_TRY(section.Read("adam_w_mode", out.decoupled));
  if (lower == "adamw") out.decoupled = true;  // as DeepSpeed: the type wins
  return {};
}

Status ReadSchedule(const Json& json, double base_lr, optim::ScheduleOptions& out) {
  using Type = optim::ScheduleOptions::Type;
  DS_TRY(Section("scheduler", json).CheckKeys());
  DS_ASSIGN(const std::string type, ReadType(json, "scheduler"));
  const Json params = json.value("params", Json::object());
  const Section section("scheduler.params", params);
  DS_TRY(section.CheckKeys());
  std::vector<std::string_view> takes = {"warmup_num_steps", "warmup_type", "last_batch_iteration"};
  if (type == "WarmupLR" || type == "WarmupDecayLR") {
    out.type = type == "WarmupLR" ? Type::kWarmupLR : Type::kWarmupDecayLR;
    takes.insert(takes.end(), {"warmup_min_lr", "warmup_max_lr"});
    if (out.type == Type::kWarmupLR) out.warmup_max_lr = base_lr;
  } else if (type == "WarmupCosineLR") {
    out.type = Type::kWarmupCosineLR;
    takes.insert(takes.end(), {"warmup_min_ratio", "cos_min_ratio"});
  } else {
    return ConfigError(
        "scheduler.type is \"{}\"; this release has WarmupLR, WarmupDecayLR and "
        "WarmupCosineLR",
        type);
  }
  if (out.type != Type::kWarmupLR) {
    takes.push_back("total_num_steps");
    if (!section.has("total_num_steps")) {
      return ConfigError("scheduler.params.total_num_steps is missing, which {} needs", type);
    }
  }
  for (const auto& [key, value] : params.items()) {
    if (std::find(takes.begin(), takes.end(), key) == takes.end()) {
      return ConfigError("scheduler.params.{} = {} is not a parameter of {}", key, value.dump(),
                         type);
    }
  }
  DS_TRY(section.Read("warmup_num_steps", out.warmup_num_steps, 1));
  DS_TRY(section.Read("total_num_steps", out.total_num_steps, 1));
  DS_TRY(section.Read("warmup_min_lr", out.warmup_min_lr, 0, kNoLimit));
  DS_TRY(section.Read("warmup_max_lr", out.warmup_max_lr, 0, kNoLimit));
  DS_TRY(section.Read("warmup_min_ratio", out.warmup_min_ratio, 0, kNoLimit));
  DS_TRY(section.Read("cos_min_ratio", out.cos_min_ratio, 0, kNoLimit));
  if (section.has("warmup_type")) {
    if (params["warmup_type"] != "log" && params["warmup_type"] != "linear") {
      return section.Wrong("warmup_type", "\"log\" or \"linear\"");
    }
    out.warmup_type = params["warmup_type"] == "linear" ? optim::ScheduleOptions::Warmup::kLinear
                                                        : optim::ScheduleOptions::Warmup::kLog;
  }
  return {};
}

Status ReadZero(const Json& json, zero::ZeroOptions& out) {
  if (json.is_boolean()) {  // the legacy spelling
    out.stage = json ? 1 : 0;
    return {};
  }
  const Section section("zero_optimization", json);
  DS_TRY(section.CheckKeys());
  int64_t stage = 0;
  DS_TRY(section.Read("stage", stage, 0));
  if (stage >= static_cast<int64_t>(zero::kPlacements.size())) {
    return section.Wrong("stage", "0, 1, 2 or 3");
  }
  out.stage = static_cast<int>(stage);
  out.overlap_comm = stage == 3;  // DeepSpeed's default
  DS_TRY(section.Read("overlap_comm", out.overlap_comm));
  DS_TRY(section.Read("ignore_unused_parameters", out.ignore_unused_parameters));
  DS_TRY(section.Read("reduce_bucket_size", out.reduce_bucket_size, 1));
  DS_TRY(section.ReadAliased("stage3_prefetch_bucket_size", "prefetch_bucket_size",
                             out.prefetch_bucket_size));
  return section.ReadAliased("stage3_max_live_parameters", "max_live_parameters",
                             out.max_live_parameters);
}

Status ReadBf16(const Json& json, const char* name, EngineConfig& config) {
  const Section section("bf16", json);
  if (!json.is_object()) return ConfigError("{} is {}, not an object", name, json.dump());
  DS_TRY(section.CheckKeys());
  bool enabled = false;
  DS_TRY(section.Read("enabled", enabled));
  DS_TRY(section.Read("check_grad_overflow", config.check_grad_overflow));
  config.dtype = enabled ? DType::kBF16 : DType::kF32;
  return {};
}

const char* ScheduleName(optim::ScheduleOptions::Type type) {
  using Type = optim::ScheduleOptions::Type;
  return type == Type::kWarmupLR        ? "WarmupLR"
         : type == Type::kWarmupDecayLR ? "WarmupDecayLR"
                                        : "WarmupCosineLR";
}

}  // namespace

Result<EngineConfig> ParseConfig(std::string_view text, int world) {
  EngineConfig config;
  Json json = Json::object();
  if (text.find_first_not_of(" \t\r\n") != std::string_view::npos) {
    auto parsed = ParseJson(text, "config");
    if (!parsed.ok()) return Error(Code::kConfig, "{}", parsed.status().message());
    json = std::move(parsed).Take();
  }
  if (!json.is_object()) return ConfigError("the text is {}, not an object", json.type_name());
  const Section top("", json);
  DS_TRY(top.CheckKeys());
  DS_TRY(ReadBatch(top, world, config));
  DS_TRY(top.Read("gradient_clipping", config.gradient_clipping, 0, kNoLimit));
  DS_TRY(top.Read("steps_per_print", config.steps_per_print, 1));
  if (top.has("optimizer")) DS_TRY(ReadOptimizer(json["optimizer"], config.optimizer));
  if (top.has("scheduler")) {
    DS_TRY(ReadSchedule(json["scheduler"], config.optimizer.lr, config.schedule));
  }
  const char* bf16 = top.has("bf16") ? "bf16" : "bfloat16";  // the old name, when alone
  if (top.has(bf16)) DS_TRY(ReadBf16(json[bf16], bf16, config));
  if (top.has("zero_optimization")) DS_TRY(ReadZero(json["zero_optimization"], config.zero));
  return config;
}

std::string EngineConfig::ToJson() const {
  Json json = {
      {"train_batch_size", train_batch},
      {"train_micro_batch_size_per_gpu", micro_batch},
      {"gradient_accumulation_steps", accumulation},
      {"gradient_clipping", gradient_clipping},
      {"bf16", {{"enabled", dtype == DType::kBF16}, {"check_grad_overflow", check_grad_overflow}}},
      {"zero_optimization",
       {{"stage", zero.stage},
        {"overlap_comm", zero.overlap_comm},
        {"reduce_bucket_size", zero.reduce_bucket_size},
        {"ignore_unused_parameters", zero.ignore_unused_parameters},
        {"stage3_prefetch_bucket_size", zero.prefetch_bucket_size},
        {"stage3_max_live_parameters", zero.max_live_parameters}}},
      {"optimizer",
       {{"type", optimizer.decoupled ? "AdamW" : "Adam"},
        {"params",
         {{"lr", optimizer.lr},
          {"betas", {optimizer.beta1, optimizer.beta2}},
          {"eps", optimizer.eps},
          {"weight_decay", optimizer.weight_decay},
          {"bias_correction", optimizer.bias_correction},
          {"adam_w_mode", optimizer.decoupled}}}}},
  };
  if (steps_per_print > 0) json["steps_per_print"] = steps_per_print;
  using Type = optim::ScheduleOptions::Type;
  if (schedule.type != Type::kConstant) {
    const bool linear = schedule.warmup_type == optim::ScheduleOptions::Warmup::kLinear;
    Json params = {{"warmup_num_steps", schedule.warmup_num_steps},
                   {"warmup_type", linear ? "linear" : "log"}};
    if (schedule.type != Type::kWarmupLR) params["total_num_steps"] = schedule.total_num_steps;
    if (schedule.type == Type::kWarmupCosineLR) {
      params["warmup_min_ratio"] = schedule.warmup_min_ratio;
      params["cos_min_ratio"] = schedule.cos_min_ratio;
    } else {
      params["warmup_min_lr"] = schedule.warmup_min_lr;
      params["warmup_max_lr"] = schedule.warmup_max_lr;
    }
    json["scheduler"] = {{"type", ScheduleName(schedule.type)}, {"params", params}};
  }
  return json.dump(2);
}

}  // namespace ds
