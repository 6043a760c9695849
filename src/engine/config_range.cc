#include "engine/config_range.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace ds {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const Json kInvalid = Json(Json::value_t::discarded);

std::optional<double> ParseNumber(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// What pydantic takes for a bool besides true and false.
std::optional<bool> LaxBool(const Json& value) {
  if (value.is_number()) {
    if (value == 0) return false;
    if (value == 1) return true;
    return std::nullopt;
  }
  if (!value.is_string()) return std::nullopt;
  const std::string& word = value.get_ref<const std::string&>();
  if (IsConfigWord("1|on|t|true|y|yes", word, /*any_case=*/true)) return true;
  if (IsConfigWord("0|off|f|false|n|no", word, /*any_case=*/true)) return false;
  return std::nullopt;
}

// A whole number that fits 64 bits, however it is written.
std::optional<int64_t> WholeNumber(const Json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    return std::nullopt;
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (number != std::floor(number) || !(std::abs(number) < 0x1p63)) return std::nullopt;
  return static_cast<int64_t>(number);
}

Json NormalNumber(const ConfigKey& key, const Json& value, bool lax) {
  Json number = value;
  if (lax && value.is_string()) {
    const auto parsed = ParseNumber(value.get_ref<const std::string&>());
    if (!parsed.has_value()) return kInvalid;
    number = *parsed;
  }
  if (key.type == ConfigType::kInt) {
    const auto whole = WholeNumber(number);
    if (!whole.has_value()) return kInvalid;
    number = *whole;
  }
  if (!number.is_number() || !std::isfinite(number.get<double>())) return kInvalid;
  return ParseConfigRange(key.range).holds(number.get<double>()) ? number : kInvalid;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += fmt::format("\"{}\"", words[i]);
  }
  return text;
}

std::string Interval(const ConfigRange& range) {
  return fmt::format("{}{:g}, {:g}{}", range.above_least ? '(' : '[', range.least, range.most,
                     range.below_most ? ')' : ']');
}

}  // namespace

bool ConfigRange::holds(double value) const {
  return (above_least ? value > least : value >= least) &&
         (below_most ? value < most : value <= most);
}

ConfigRange ParseConfigRange(std::string_view text) {
  if (text.empty()) return {-kInfinity, kInfinity, true, true};
  const size_t comma = text.find(',');
  const std::string_view least = text.substr(1, comma - 1);
  const std::string_view most = text.substr(comma + 1, text.size() - comma - 2);
  return {ParseNumber(least).value_or(-kInfinity), ParseNumber(most).value_or(kInfinity),
          text.front() == '(', text.back() == ')'};
}

Json NormalConfigValue(const ConfigKey& key, const Json& value, bool lax) {
  switch (key.type) {
    case ConfigType::kBool: {
      if (value.is_boolean()) return value;
      const auto meant = lax ? LaxBool(value) : std::nullopt;
      return meant.has_value() ? Json(*meant) : kInvalid;
    }
    case ConfigType::kInt:
    case ConfigType::kNumber:
      return NormalNumber(key, value, lax);
    case ConfigType::kText:
      return value.is_string() ? value : kInvalid;
    case ConfigType::kChoice:
    case ConfigType::kWord: {
      if (!value.is_string()) return kInvalid;
      const std::string& word = value.get_ref<const std::string&>();
      for (const std::string& choice : ConfigChoices(key)) {
        if (choice == word) return value;
        if (key.type == ConfigType::kWord && SameWord(choice, word)) return choice;
      }
      return kInvalid;
    }
    case ConfigType::kPair: {
      if (!value.is_array() || value.size() != 2) return kInvalid;
      const ConfigRange range = ParseConfigRange(key.range);
      for (const Json& each : value) {
        if (!each.is_number() || !range.holds(each.get<double>())) return kInvalid;
      }
      return value;
    }
    case ConfigType::kList:
      return value.is_array() ? value : kInvalid;
    case ConfigType::kMap:
    case ConfigType::kSection:
      return value.is_object() ? value : kInvalid;
    case ConfigType::kAny:
      return value;
  }
  return kInvalid;
}

std::string ConfigExpectation(const ConfigKey& key) {
  const bool ranged = !key.range.empty();
  switch (key.type) {
    case ConfigType::kBool:
      return "true or false";
    case ConfigType::kInt: {
      if (!ranged) return "a whole number";
      const ConfigRange range = ParseConfigRange(key.range);
      if (range.most == kInfinity) return fmt::format("a whole number of at least {}", range.least);
      if (range.most - range.least > 8) {
        return fmt::format("a whole number from {} to {}", range.least, range.most);
      }
      std::string text;
      for (double value = range.least; value <= range.most; ++value) {
        text += value == range.least ? "" : value == range.most ? " or " : ", ";
        text += fmt::format("{}", value);
      }
      return text;
    }
    case ConfigType::kNumber:
      if (!ranged) return "a number";
      return fmt::format("a number in {}", Interval(ParseConfigRange(key.range)));
    case ConfigType::kPair:
      return fmt::format("two numbers in {}", Interval(ParseConfigRange(key.range)));
    case ConfigType::kText:
      return "a string";
    case ConfigType::kChoice:
    case ConfigType::kWord:
      return Joined(ConfigChoices(key));
    case ConfigType::kList:
      return "a list";
    case ConfigType::kMap:
    case ConfigType::kSection:
      return "an object";
    case ConfigType::kAny:
      break;
  }
  return "a value";
}

std::string ShownConfigValue(const Json& value) { return ShortText(DumpJson(value, -1), 80); }

std::string ShortText(std::string text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes) + "...";
}

std::vector<std::string> ConfigChoices(const ConfigKey& key) {
  std::vector<std::string> choices;
  std::string_view rest = key.range;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('|'), rest.size());
    choices.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return choices;
}

}  // namespace ds
