#include "engine/config.h"

#include <cmath>
#include <type_traits>

#include "optim/rules.h"
#include "optim/schedule_params.h"

namespace ds {
namespace {

constexpr const char* kTrain = "train_batch_size";
constexpr const char* kMicro = "train_micro_batch_size_per_gpu";
constexpr const char* kSteps = "gradient_accumulation_steps";
constexpr const char* kScalePower = "fp16.initial_scale_power";
constexpr const char* kScaleMin = "fp16.min_loss_scale";

// Every key whose value is one field: read and written by this list alone.
template <typename Config, typename Visit>
void VisitFields(Config& c, Visit&& visit) {
  visit("gradient_clipping", c.gradient_clipping);
  visit("steps_per_print", c.steps_per_print);
  visit("bf16.check_grad_overflow", c.check_grad_overflow);
  visit("fp16.loss_scale_window", c.loss_scale.window);
  visit("fp16.hysteresis", c.loss_scale.hysteresis);
  visit("fp16.consecutive_hysteresis", c.loss_scale.consecutive_hysteresis);
  visit(kScaleMin, c.loss_scale.min_scale);
  visit("zero_optimization.stage", c.zero.stage);
  visit("zero_optimization.overlap_comm", c.zero.overlap_comm);
  visit("zero_optimization.reduce_bucket_size", c.zero.reduce_bucket_size);
  visit("zero_optimization.ignore_unused_parameters", c.zero.ignore_unused_parameters);
  visit("zero_optimization.stage3_prefetch_bucket_size", c.zero.prefetch_bucket_size);
  visit("zero_optimization.stage3_max_live_parameters", c.zero.max_live_parameters);
  visit("tensorboard.enabled", c.monitor.tensorboard.enabled);
  visit("tensorboard.output_path", c.monitor.tensorboard.output_path);
  visit("tensorboard.job_name", c.monitor.tensorboard.job_name);
  visit("csv_monitor.enabled", c.monitor.csv.enabled);
  visit("csv_monitor.output_path", c.monitor.csv.output_path);
  visit("csv_monitor.job_name", c.monitor.csv.job_name);
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

// A section {"type", "params"} with what is given and the defaults of the rest.
Json Resolved(const CheckedConfig& checked, const std::string& section, const Json& type) {
  const std::string path = section + ".params";
  Json params = Json::object();
  const ConfigSection* known = FindConfigSection(path, type.get<std::string>());
  for (const ConfigKey& key : known->keys) {
    if (key.use.kind != ConfigUse::Kind::kHonoured) continue;
    Json value = Value(checked, ConfigPath(path, key.name));
    if (value.is_null() && !key.standard.empty()) value = Json::parse(key.standard);
    if (!value.is_null()) params[std::string(key.name)] = std::move(value);
  }
  return {{"type", type}, {"params", std::move(params)}};
}

void ReadOptimizer(CheckedConfig& checked, EngineConfig& config) {
  if (checked.wrong("optimizer") || checked.wrong("scheduler")) return;
  const Json rule_type = Value(checked, "optimizer.type");
  config.optimizer = Resolved(checked, "optimizer", rule_type.is_null() ? "AdamW" : rule_type);
  auto rule = optim::CreateRule(config.optimizer);
  if (!rule.ok()) {
    AddProblem(checked, "optimizer", "{}", rule.status().message());
    return;
  }
  if ((*rule)->name() == std::string_view("AdamW")) {
    config.optimizer["params"]["adam_w_mode"] = true;  // whatever is given beside that type
  }
  const Json type = Value(checked, "scheduler.type");
  if (type.is_null()) return;
  config.scheduler = Resolved(checked, "scheduler", type);
  Json& params = config.scheduler["params"];
  const bool absent = type == "WarmupLR" && !params.contains("warmup_max_lr");
  // Each group rises to a rate of its own, for which no one number can stand.
  if (absent || checked.undecided("scheduler.params.warmup_max_lr")) {
    params["warmup_max_lr"] = nullptr;
  }
  auto schedule = optim::ReadSchedule(config.scheduler);
  if (schedule.ok()) {
    config.schedule = *schedule;
  } else {
    AddProblem(checked, "scheduler", "{}", schedule.status().message());
  }
}

void ReadPrecision(CheckedConfig& checked, EngineConfig& config) {
  const bool bf16 = Value(checked, "bf16.enabled") == true;
  if (bf16) config.dtype = DType::kBF16;
  if (Value(checked, "fp16.enabled") != true) return;
  if (bf16) {
    AddProblem(checked, "fp16.enabled", "fp16.enabled and bf16.enabled are both true");
    return;
  }
  config.dtype = DType::kF16;
  optim::LossScaleOptions& scale = config.loss_scale;
  const Json fixed = Value(checked, "fp16.loss_scale"), power = Value(checked, kScalePower);
  scale.dynamic = fixed.is_null() || fixed == 0;
  if (!scale.dynamic) {
    scale.init_scale = fixed.get<double>();
  } else if (!power.is_null()) {
    scale.init_scale = std::exp2(power.get<double>());
  }
  if (scale.dynamic && scale.min_scale <= 0) {
    AddProblem(checked, kScaleMin, "{} = {:g} is not above 0, which a scale that moves needs",
               kScaleMin, scale.min_scale);
    return;
  }
  const auto scaler = optim::LossScaler::Create(scale);
  if (!scaler.ok()) AddProblem(checked, "fp16", "fp16: {}", scaler.status().message());
}

// Groups of ranks: how many of them the world has must come out even.
void ReadGroups(CheckedConfig& checked, int world, EngineConfig& config) {
  const char *hpz = "zero_optimization.zero_hpz_partition_size",
             *mics = "zero_optimization.mics_shard_size";
  const auto read = [&](const char* key, int64_t least, int& group) {
    const int64_t asked = checked.wrong(key) ? 0 : Number(checked, key);
    if (asked < least) return;
    if (config.zero.stage != 3) {
      AddProblem(checked, key, "{} = {} needs zero_optimization.stage 3, not {}", key, asked,
                 config.zero.stage);
    } else if (asked > world || world % asked != 0) {
      AddProblem(checked, key, "{} = {} does not divide the world of {} ranks", key, asked, world);
    } else {
      group = static_cast<int>(asked);
    }
  };
  read(hpz, 2, config.zero.hpz_group);
  read(mics, 1, config.zero.mics_group);
  if (config.zero.hpz_group > 0 && config.zero.mics_group > 0) {
    AddProblem(checked, mics, "{} = {} and {} = {} exclude each other", mics,
               config.zero.mics_group, hpz, config.zero.hpz_group);
  }
}

struct FieldReader {
  const CheckedConfig& checked;

  template <typename T>
  void operator()(const char* key, T& field) const {
    if (const Json value = Value(checked, key); !value.is_null()) field = value.get<T>();
  }
};

}  // namespace

ConfigReading ReadConfig(const Json& json, int world) {
  // Not {{}, CheckConfig(json)}: where that throws, GCC 12 ends the first member twice.
  ConfigReading reading;
  reading.checked = CheckConfig(json);
  ReadBatch(reading.checked, world, reading.config);
  reading.config.zero.overlap_comm = Value(reading.checked, "zero_optimization.stage") == 3;
  VisitFields(reading.config, FieldReader{reading.checked});
  ReadPrecision(reading.checked, reading.config);
  ReadGroups(reading.checked, world, reading.config);
  ReadOptimizer(reading.checked, reading.config);
  return reading;
}

Result<Json> ParseConfigText(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return Json::object();
  auto parsed = ParseJson(text, "config");
  if (!parsed.ok() && parsed.status().code() == Code::kOutOfMemory) return parsed;
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

Json EngineConfig::ToJson() const {
  Json json = {
      {kTrain, train_batch},
      {kMicro, micro_batch},
      {kSteps, accumulation},
      {"bf16", {{"enabled", dtype == DType::kBF16}}},
      {"fp16", {{"enabled", dtype == DType::kF16}}},
      {"optimizer", optimizer},
  };
  if (!scheduler.is_null()) json["scheduler"] = scheduler;
  VisitFields(*this, [&](std::string_view key, const auto& value) {
    if (key.starts_with("fp16.") && dtype != DType::kF16) return;
    if (key.starts_with("tensorboard.") && !monitor.tensorboard.enabled) return;
    if (key.starts_with("csv_monitor.") && !monitor.csv.enabled) return;
    json[Pointer(key)] = value;
  });
  if (dtype == DType::kF16) {
    json["fp16"]["loss_scale"] = loss_scale.dynamic ? 0.0 : loss_scale.init_scale;
    if (loss_scale.dynamic)
      json[Pointer(kScalePower)] = std::lround(std::log2(loss_scale.init_scale));
  }
  if (zero.hpz_group > 0) json["zero_optimization"]["zero_hpz_partition_size"] = zero.hpz_group;
  if (zero.mics_group > 0) json["zero_optimization"]["mics_shard_size"] = zero.mics_group;
  if (steps_per_print == 0) json.erase("steps_per_print");
  return json;
}

}  // namespace ds
