#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace ds::model {
namespace {

constexpr std::pair<RopeScaling, const char*> kNames[] = {{RopeScaling::kNone, "default"},
                                                          {RopeScaling::kLinear, "linear"},
                                                          {RopeScaling::kDynamic, "dynamic"},
                                                          {RopeScaling::kYarn, "yarn"},
                                                          {RopeScaling::kLlama3, "llama3"}};

const char* NameOf(RopeScaling scaling) {
  for (const auto& [each, name] : kNames) {
    if (each == scaling) return name;
  }
  return "default";
}

// What YaRN multiplies cosines and sines by, of a context `factor` times as long.
double YarnMagnitude(double factor, double scale = 1) {
  return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1;
}

Status ReadScaling(const Json& from, RopeConfig& rope) {
  std::string name = "default";
  DS_TRY(ReadKey(from, "type", name));  // before it was called rope_type
  DS_TRY(ReadKey(from, "rope_type", name));
  const auto* found = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&](const auto& each) { return each.second == name; });
  if (found == std::end(kNames)) {
    return Error(Code::kUnsupported,
                 "rope_type is \"{}\", expected default, linear, dynamic, yarn or llama3", name);
  }
  rope.scaling = found->first;
  const auto given = [&](const char* key) { return from.contains(key) && !from[key].is_null(); };
  const auto read = [&](const char* key, auto& value) {
    return given(key) ? ReadKey(from, key, value) : Status();
  };
  double mscale = 0, mscale_all_dim = 0;
  for (const auto& [key, value] :
       {std::pair("factor", &rope.factor), std::pair("rope_theta", &rope.theta),
        std::pair("original_max_position_embeddings", &rope.original_context),
        std::pair("low_freq_factor", &rope.low_freq_factor),
        std::pair("high_freq_factor", &rope.high_freq_factor),
        std::pair("beta_fast", &rope.beta_fast), std::pair("beta_slow", &rope.beta_slow),
        std::pair("mscale", &mscale), std::pair("mscale_all_dim", &mscale_all_dim)}) {
    DS_TRY(read(key, *value));
  }
  if (rope.beta_fast == 0) rope.beta_fast = RopeConfig().beta_fast;  // as the reference has it
  if (rope.beta_slow == 0) rope.beta_slow = RopeConfig().beta_slow;
  DS_TRY(read("truncate", rope.truncate));
  if (from.contains("truncate") && !given("truncate")) rope.truncate = false;  // null is no
  if (rope.scaling != RopeScaling::kNone && !given("factor")) {
    return Error(Code::kConfig, "rope_type is \"{}\", and there is no factor beside it", name);
  }
  if (given("attention_factor")) {
    DS_TRY(ReadKey(from, "attention_factor", rope.attention_factor.emplace()));
  } else if (mscale != 0 && mscale_all_dim != 0) {  // as DeepSeek's models have it: both, or none
    rope.attention_factor =
        YarnMagnitude(rope.factor, mscale) / YarnMagnitude(rope.factor, mscale_all_dim);
  }
  return {};
}

Status CheckWhole(const Json& json) {
  constexpr char kKey[] = "partial_rotary_factor";
  if (!json.contains(kKey) || json[kKey].is_null() || json[kKey] == 1.0) return {};
  return Error(Code::kUnsupported, "{} is {}, only 1 is supported", kKey, DumpJson(json[kKey], -1));
}

bool IsSet(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

// Which of the two spellings counts: where the older one says something, it alone does.
Result<const char*> KeyOf(const Json& config) {
  const char* found = nullptr;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!IsSet(config, key)) continue;
    if (!config[key].is_object()) {
      return Error(Code::kConfig, "{} is {}, expected an object", key, DumpJson(config[key], -1));
    }
    for (const auto& [name, value] : config[key].items()) {
      if (!value.is_object()) continue;
      return Error(Code::kUnsupported,
                   "{} has {} of its own for {}, only one for all layers is supported", key,
                   DumpJson(value, -1), name);
    }
    if (found == nullptr || !config[key].empty()) found = key;
  }
  return found;
}

Status Check(const RopeConfig& rope) {
  constexpr double kMost = 1e18;  // no model comes near it; the product of two is finite in fp32
  if (!(rope.theta > 1 && rope.theta <= kMost)) {
    return Error(Code::kConfig, "rope_theta is {}, expected more than 1 and up to {}", rope.theta,
                 kMost);
  }
  if (!(rope.factor >= 1 && rope.factor <= kMost)) {
    return Error(Code::kConfig, "the rope factor is {}, expected 1 to {}", rope.factor, kMost);
  }
  if (!(rope.original_context >= 0)) {
    return Error(Code::kConfig, "original_max_position_embeddings is {}, expected 0 or more",
                 rope.original_context);
  }
  if (const double by = rope.attention_factor.value_or(1); !(by > 0 && by <= kMost)) {
    return Error(Code::kConfig, "attention_factor is {}, expected more than 0 and up to {}", by,
                 kMost);
  }
  if (rope.scaling == RopeScaling::kLlama3 && !(rope.high_freq_factor > rope.low_freq_factor)) {
    return Error(Code::kConfig, "high_freq_factor is {}, expected more than low_freq_factor, {}",
                 rope.high_freq_factor, rope.low_freq_factor);
  }
  if (rope.scaling == RopeScaling::kYarn &&
      !(rope.beta_slow > 0 && rope.beta_fast > rope.beta_slow)) {
    return Error(Code::kConfig,
                 "beta_fast is {} and beta_slow {}, expected it to be more, and both more than 0",
                 rope.beta_fast, rope.beta_slow);
  }
  return {};
}

// Peng et al., "YaRN", 2023: dimensions that turn often are kept, slow ones are interpolated, those
// between are blended.
void ScaleYarn(const RopeConfig& rope, int64_t head_dim, double original,
               std::vector<double>& freqs) {
  const auto corner = [&](double turns) {
    return static_cast<double>(head_dim) * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = corner(rope.beta_fast), high = corner(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (high == low) high += 0.001;
  for (size_t i = 0; i < freqs.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    freqs[i] = freqs[i] / rope.factor * ramp + freqs[i] * (1 - ramp);
  }
}

// Llama 3.1: long waves are stretched by the factor, short ones kept, those between are blended.
void ScaleLlama3(const RopeConfig& rope, double original, std::vector<double>& freqs) {
  for (double& freq : freqs) {
    const double turns = original * freq / (2 * std::numbers::pi);
    if (turns < rope.low_freq_factor) {
      freq /= rope.factor;
    } else if (turns <= rope.high_freq_factor) {
      const double keep =
          (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      freq = (1 - keep) * freq / rope.factor + keep * freq;
    }
  }
}

}  // namespace

Result<RopeConfig> RopeConfig::Parse(const Json& config) {
  constexpr char kTheta[] = "rope_theta", kOriginal[] = "original_max_position_embeddings";
  RopeConfig rope;
  DS_TRY(CheckWhole(config));
  if (IsSet(config, kTheta)) DS_TRY(ReadKey(config, kTheta, rope.theta));
  DS_ASSIGN(const char* const key, KeyOf(config));
  if (key != nullptr) {
    DS_TRY(CheckWhole(config[key]));
    DS_TRY(ReadScaling(config[key], rope));
    const Json other = config.value("rope_parameters", Json::object());
    if (!IsSet(config, kTheta) && !IsSet(config[key], kTheta) && IsSet(other, kTheta)) {
      return Error(Code::kConfig,
                   "rope_scaling has no {}, and that of rope_parameters, {}, does not count beside "
                   "it: say it once, or leave one of the two out",
                   kTheta, DumpJson(other[kTheta], -1));
    }
  }
  const bool stretched = rope.scaling == RopeScaling::kYarn || rope.scaling == RopeScaling::kLlama3;
  if (stretched && IsSet(config, kOriginal)) {
    DS_TRY(ReadKey(config, kOriginal, rope.original_context));
  }
  DS_TRY(Check(rope));
  return rope;
}

void RopeConfig::Write(Json& config) const {
  Json parameters = {{"rope_type", NameOf(scaling)}};
  if (scaling != RopeScaling::kNone) parameters["factor"] = factor;
  if (original_context > 0) {
    const bool whole = original_context == std::floor(original_context) && original_context < 1e15;
    parameters["original_max_position_embeddings"] =
        whole ? Json(static_cast<int64_t>(original_context)) : Json(original_context);
  }
  if (scaling == RopeScaling::kLlama3) {
    parameters["low_freq_factor"] = low_freq_factor;
    parameters["high_freq_factor"] = high_freq_factor;
  }
  if (scaling == RopeScaling::kYarn) {
    parameters["beta_fast"] = beta_fast;
    parameters["beta_slow"] = beta_slow;
    if (attention_factor.has_value()) parameters["attention_factor"] = *attention_factor;
    if (!truncate) parameters["truncate"] = false;
  }
  config["rope_scaling"] = scaling == RopeScaling::kNone ? Json() : parameters;
  config["rope_theta"] = theta;
  parameters["rope_theta"] = theta;
  config["rope_parameters"] = std::move(parameters);
}

void RopeConfig::Fill(int64_t head_dim, int64_t context, int64_t first, int64_t tokens,
                      std::span<float> table) const {
  const int64_t half = head_dim / 2;
  const auto dim = static_cast<double>(head_dim);
  const double original = original_context > 0 ? original_context : static_cast<double>(context);
  double base = theta, magnitude = 1;
  const auto length = static_cast<double>(first + tokens);
  if (scaling == RopeScaling::kDynamic && length > static_cast<double>(context)) {
    base *=
        std::pow(factor * length / static_cast<double>(context) - (factor - 1), dim / (dim - 2));
  }
  std::vector<double> freqs(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    freqs[static_cast<size_t>(i)] = std::pow(base, -2.0 * static_cast<double>(i) / dim);
  }
  if (scaling == RopeScaling::kLinear) {
    for (double& freq : freqs) freq /= factor;
  } else if (scaling == RopeScaling::kLlama3) {
    ScaleLlama3(*this, original, freqs);
  } else if (scaling == RopeScaling::kYarn) {
    ScaleYarn(*this, head_dim, original, freqs);
    magnitude = attention_factor.value_or(YarnMagnitude(factor));
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(first + t) * freqs[static_cast<size_t>(i)];
      const auto at = static_cast<size_t>(t * head_dim + i);
      table[at] = static_cast<float>(std::cos(angle) * magnitude);
      table[at + static_cast<size_t>(half)] = static_cast<float>(std::sin(angle) * magnitude);
    }
  }
}

}  // namespace ds::model
