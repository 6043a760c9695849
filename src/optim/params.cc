#include "optim/params.h"

#include <algorithm>
#include <cmath>

#include "base/edit_distance.h"

namespace ds::optim {

void Params::Fail(Status status) {
  if (first_error_.ok()) first_error_ = std::move(status);
}

bool Params::has(std::string_view key) const {
  if (!object_.is_object()) return false;
  const auto it = object_.find(key);
  return it != object_.end() && !it->is_null() && *it != "auto";
}

const Json* Params::Find(std::string_view key) {
  known_.emplace_back(key);
  return has(key) ? &*object_.find(key) : nullptr;
}

void Params::Wrong(std::string_view key, std::string_view expected) {
  Fail(Error(Code::kConfig, "{}.{} is {}, not {}", where_, key, DumpJson(*object_.find(key), -1),
             expected));
}

void Params::Read(std::string_view key, bool& out) {
  const Json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  out = value->get<bool>();
}

void Params::Read(std::string_view key, int64_t& out, int64_t least) {
  const Json* value = Find(key);
  if (value == nullptr) return;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (number != std::floor(number) || std::abs(number) > 9e15 ||
      number < static_cast<double>(least)) {
    return Wrong(key, fmt::format("a whole number of at least {}", least));
  }
  out = static_cast<int64_t>(number);
}

void Params::Read(std::string_view key, double& out) {
  const Json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_number() || !std::isfinite(value->get<double>())) return Wrong(key, "a number");
  out = value->get<double>();
}

void Params::Read(std::string_view key, double& out, double least, double below) {
  const Json* value = Find(key);
  if (value == nullptr) return;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= least && number < below)) {
    return Wrong(key, fmt::format("a number in [{:g}, {:g})", least, below));
  }
  out = number;
}

void Params::ReadBetas(std::string_view key, double& beta1, double& beta2) {
  const Json* value = Find(key);
  if (value == nullptr) return;
  const auto valid = [](const Json& b) { return b.is_number() && b >= 0.0 && b < 1.0; };
  if (!value->is_array() || value->size() != 2 || !valid((*value)[0]) || !valid((*value)[1])) {
    return Wrong(key, "two numbers in [0, 1)");
  }
  beta1 = (*value)[0];
  beta2 = (*value)[1];
}

void Params::ReadChoice(std::string_view key, std::string& out,
                        const std::vector<std::string_view>& choices) {
  const Json* value = Find(key);
  if (value == nullptr) return;
  for (const std::string_view choice : choices) {
    if (*value != choice) continue;
    out = choice;
    return;
  }
  std::string expected;
  for (const std::string_view choice : choices) {
    expected += fmt::format("{}\"{}\"", expected.empty() ? "" : " or ", choice);
  }
  Wrong(key, expected);
}

void Params::Neutral(std::string_view key, const Json& value, std::string_view why) {
  const Json* given = Find(key);
  if (given == nullptr || *given == value) return;
  Fail(Error(Code::kConfig, "{}.{} = {} is not supported: {}", where_, key, DumpJson(*given, -1),
             why));
}

void Params::ReadTorch() {
  Neutral("maximize", false, "negate the gradient");
  Neutral("differentiable", false, "there is no automatic differentiation here");
  Ignore("foreach");
  Ignore("fused");
}

void Params::Require(std::string_view key) {
  if (!has(key)) Fail(Error(Code::kConfig, "{}.{} is missing", where_, key));
}

Status Params::Finish() {
  DS_TRY(first_error_);
  if (object_.is_null()) return {};
  if (!object_.is_object()) {
    return Error(Code::kConfig, "{} is {}, not an object", where_, JsonTypeName(object_));
  }
  for (const auto& item : object_.items()) {
    if (std::find(known_.begin(), known_.end(), item.key()) != known_.end()) continue;
    const std::string_view near = Nearest(item.key(), known_);
    return Error(Code::kConfig, "{}.{} is not a key of this type{}", where_, item.key(),
                 near.empty() ? "" : fmt::format("; did you mean {}?", near));
  }
  return {};
}

Result<TypeAndParams> ReadTypeAndParams(const Json& json, std::string_view what,
                                        std::string_view also) {
  if (!json.is_object()) {
    return Error(Code::kConfig, "{} is {}, not an object", what, JsonTypeName(json));
  }
  std::vector<std::string> known = {"type", "params"};
  if (!also.empty()) known.emplace_back(also);
  for (const auto& item : json.items()) {
    if (item.key() == also && item.value() != false) {
      return Error(Code::kConfig, "{}.{} = {} is not supported", what, item.key(),
                   DumpJson(item.value(), -1));
    }
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    const std::string_view near = Nearest(item.key(), known);
    return Error(Code::kConfig, "{}.{} is not a key{}", what, item.key(),
                 near.empty() ? "" : fmt::format("; did you mean {}?", near));
  }
  if (!json.contains("type") || !json["type"].is_string()) {
    return Error(Code::kConfig, "{}.type is missing, or not a string", what);
  }
  return TypeAndParams{json["type"], json.value("params", Json::object())};
}

}  // namespace ds::optim
