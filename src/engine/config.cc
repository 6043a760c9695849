#include "engine/config.h"

#include <type_traits>

namespace ds {
namespace {

using Warmup = optim::ScheduleOptions::Warmup;
using ScheduleType = optim::ScheduleOptions::Type;

constexpr std::pair<ScheduleType, const char*> kSchedules[] = {
    {ScheduleType::kWarmupLR, "WarmupLR"},
    {ScheduleType::kWarmupDecayLR, "WarmupDecayLR"},
    {ScheduleType::kWarmupCosineLR, "WarmupCosineLR"},
};

const char* ScheduleName(ScheduleType type) {
  for (const auto& [value, name] : kSchedules) {
    if (value == type) return name;
  }
  return "";
}

// Every key whose value is one field: read and written by this list alone. Parameters of another
// type of optimizer or schedule are left out by whoever visits.
template <typename Config, typename Visit>
void VisitFields(Config& c, Visit&& visit) {
  visit("gradient_clipping", c.gradient_clipping);
  visit("steps_per_print", c.steps_per_print);
  visit("bf16.check_grad_overflow", c.check_grad_overflow);
  visit("zero_optimization.stage", c.zero.stage);
  visit("zero_optimization.overlap_comm", c.zero.overlap_comm);
  visit("zero_optimization.reduce_bucket_size", c.zero.reduce_bucket_size);
  visit("zero_optimization.ignore_unused_parameters", c.zero.ignore_unused_parameters);
  visit("zero_optimization.stage3_prefetch_bucket_size", c.zero.prefetch_bucket_size);
  visit("zero_optimization.stage3_max_live_parameters", c.zero.max_live_parameters);
  visit("optimizer.params.lr", c.optimizer.lr);
  visit("optimizer.params.eps", c.optimizer.eps);
  visit("optimizer.params.weight_decay", c.optimizer.weight_decay);
  visit("optimizer.params.bias_correction", c.optimizer.bias_correction);
  visit("optimizer.params.adam_w_mode", c.optimizer.decoupled);
  visit("scheduler.params.warmup_num_steps", c.schedule.warmup_num_steps);
  visit("scheduler.params.total_num_steps", c.schedule.total_num_steps);
  visit("scheduler.params.warmup_min_lr", c.schedule.warmup_min_lr);
  visit("scheduler.params.warmup_max_lr", c.schedule.warmup_max_lr);
  visit("scheduler.params.warmup_min_ratio", c.schedule.warmup_min_ratio);
  visit("scheduler.params.cos_min_ratio", c.schedule.cos_min_ratio);
}

Json::json_pointer Pointer(std::string_view key) {
  std::string path = "/";
  for (const char c : key) path += c == '.' ? '/' : c;
  return Json::json_pointer(path);
}

// The checked value of a key, or null.
Json Value(const CheckedConfig& checked, std::string_view key) {
  const auto pointer = Pointer(key);
  return checked.values.contains(pointer) ? checked.values.at(pointer) : Json();
}

int64_t Number(const CheckedConfig& checked, std::string_view key) {
  const Json value = Value(checked, key);
  return value.is_null() ? 0 : value.get<int64_t>();
}

constexpr const char* kTrain = "train_batch_size";
constexpr const char* kMicro = "train_micro_batch_size_per_gpu";
constexpr const char* kSteps = "gradient_accumulation_steps";

// The batch triangle: train = micro * accumulation * world, given any enough of the three
// (deepspeed/runtime/config.py, _batch_assertion and _set_batch_related_parameters).
void ReadBatch(CheckedConfig& checked, int world, EngineConfig& config) {
  if (checked.wrong(kTrain) || checked.wrong(kMicro) || checked.wrong(kSteps)) return;
  int64_t train = Number(checked, kTrain), micro = Number(checked, kMicro);
  int64_t steps = Number(checked, kSteps);
  if (train == 0 && micro == 0) {
    for (const char* key : {kTrain, kMicro}) {
      if (!checked.automatic(key)) continue;
      AddProblem(checked, key, "{} is \"auto\": {} or {} must be a number, the rest follows", key,
                 kTrain, kMicro);
      return;
    }
    if (steps != 0) {
      AddProblem(checked, kSteps, "{} = {} needs {} or {} beside it", kSteps, steps, kTrain,
                 kMicro);
      return;
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
    // Saturates instead of wrapping: the product is compared below.
    if (__builtin_mul_overflow(micro, steps, &train) ||
        __builtin_mul_overflow(train, static_cast<int64_t>(world), &train)) {
      AddProblem(checked, kMicro, "{} {} * {} {} * {} ranks does not fit 64 bits", kMicro, micro,
                 kSteps, steps, world);
      return;
    }
  }
  int64_t product = 0;
  const bool fits = !__builtin_mul_overflow(micro, steps, &product) &&
                    !__builtin_mul_overflow(product, static_cast<int64_t>(world), &product);
  if (micro < 1 || steps < 1 || !fits || train != product) {
    AddProblem(checked, kTrain, "{} {} is not {} {} * {} {} * {} ranks", kTrain, train, kMicro,
               micro, kSteps, steps, world);
    return;
  }
  config.train_batch = train;
  config.micro_batch = micro;
  config.accumulation = steps;
}

// Defaults that depend on another key, set before the fields are read.
void SetDerivedDefaults(const CheckedConfig& checked, EngineConfig& config) {
  config.zero.overlap_comm = Value(checked, "zero_optimization.stage") == 3;
  const Json type = Value(checked, "scheduler.type");
  for (const auto& [value, name] : kSchedules) {
    if (type == name) config.schedule.type = value;
  }
  const Json lr = Value(checked, "optimizer.params.lr");
  if (config.schedule.type == ScheduleType::kWarmupLR ||
      checked.automatic("scheduler.params.warmup_max_lr")) {
    config.schedule.warmup_max_lr = lr.is_null() ? config.optimizer.lr : lr.get<double>();
  }
}

struct FieldReader {
  const CheckedConfig& checked;

  template <typename T>
  void operator()(const char* key, T& field) const {
    if (const Json value = Value(checked, key); !value.is_null()) field = value.get<T>();
  }
};

// Values that are not one field.
void ReadRest(const CheckedConfig& checked, EngineConfig& config) {
  if (Value(checked, "bf16.enabled") == true) config.dtype = DType::kBF16;
  if (const Json betas = Value(checked, "optimizer.params.betas"); betas.is_array()) {
    config.optimizer.beta1 = betas[0].get<double>();
    config.optimizer.beta2 = betas[1].get<double>();
  }
  if (Value(checked, "optimizer.type") == "AdamW") config.optimizer.decoupled = true;
  if (const Json type = Value(checked, "scheduler.params.warmup_type"); type.is_string()) {
    config.schedule.warmup_type = type == "linear" ? Warmup::kLinear : Warmup::kLog;
  }
}

}  // namespace

ConfigReading ReadConfig(const Json& json, int world) {
  ConfigReading reading = {{}, CheckConfig(json)};
  ReadBatch(reading.checked, world, reading.config);
  SetDerivedDefaults(reading.checked, reading.config);
  VisitFields(reading.config, FieldReader{reading.checked});
  ReadRest(reading.checked, reading.config);
  return reading;
}

Result<Json> ParseConfigText(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return Json::object();
  auto parsed = ParseJson(text, "config");
  if (!parsed.ok()) return Error(Code::kConfig, "{}", parsed.status().message());
  if (!parsed->is_object()) {
    return Error(Code::kConfig, "config: the text is {}, not an object", JsonTypeName(*parsed));
  }
  return parsed;
}

Result<EngineConfig> ParseConfig(std::string_view text, int world) {
  DS_ASSIGN(const Json json, ParseConfigText(text));
  ConfigReading reading = ReadConfig(json, world);
  const auto& problems = reading.checked.problems;
  if (problems.empty()) return reading.config;
  const std::string more =
      problems.size() == 1 ? "" : fmt::format(" (and {} more)", problems.size() - 1);
  return Error(Code::kConfig, "config: {}{}", problems.front().message, more);
}

std::string EngineConfig::ToJson() const {
  Json json = {
      {kTrain, train_batch},
      {kMicro, micro_batch},
      {kSteps, accumulation},
      {"bf16", {{"enabled", dtype == DType::kBF16}}},
      {"optimizer",
       {{"type", optimizer.decoupled ? "AdamW" : "Adam"},
        {"params", {{"betas", {optimizer.beta1, optimizer.beta2}}}}}},
  };
  const std::string schedule_type = ScheduleName(schedule.type);
  if (!schedule_type.empty()) {
    const bool linear = schedule.warmup_type == Warmup::kLinear;
    json["scheduler"] = {{"type", schedule_type},
                         {"params", {{"warmup_type", linear ? "linear" : "log"}}}};
  }
  const ConfigSection* params = FindConfigSection("scheduler.params", schedule_type);
  VisitFields(*this, [&](std::string_view key, const auto& value) {
    constexpr std::string_view kPrefix = "scheduler.params.";
    if (key.starts_with(kPrefix) &&
        (params == nullptr || FindConfigKey(*params, key.substr(kPrefix.size())) == nullptr)) {
      return;
    }
    json[Pointer(key)] = value;
  });
  if (steps_per_print == 0) json.erase("steps_per_print");
  return json.dump(2);
}

}  // namespace ds
