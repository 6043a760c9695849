#include "numbers.h"

#include <fmt/core.h>

#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace ds::tool {
namespace {

bool AllRead(const std::string& word, const char* end) {
  return !word.empty() && end == word.c_str() + word.size();
}

// The parser has it in base 8, and who writes it seldom does.
bool ZeroPadded(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  return word.size() > 1 && word[0] == '0' &&
         std::isdigit(static_cast<unsigned char>(word[1])) != 0;
}

// What is wrong with a word, or "". Bases as the parser takes them: 16, 0x10.
std::string WrongSigned(const std::string& word) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(word.c_str(), &end, 0);
  if (!AllRead(word, end)) return word + " is not a whole number";
  if (errno != ERANGE) return "";
  return fmt::format("{} is {} than {}", word, value < 0 ? "less" : "more", value);
}

std::string WrongUnsigned(const std::string& word) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(word.c_str(), &end, 0);
  if (!AllRead(word, end)) return word + " is not a whole number";
  if (word.find('-') != word.npos && value != 0) return word + " is less than 0";
  return errno == ERANGE ? fmt::format("{} is more than {}", word, value) : "";
}

std::string WrongReal(const std::string& word) {
  char* end = nullptr;
  errno = 0;
  const double value = std::strtod(word.c_str(), &end);
  if (!AllRead(word, end)) return word + " is not a number";
  if (errno != ERANGE || std::fpclassify(value) == FP_SUBNORMAL) return "";
  return word + (value == 0 ? " is too small to tell from 0" : " is too large for a number");
}

std::string Wrong(const std::string& type, const std::string& word) {
  const bool whole = type == "INT" || type == "UINT";
  if (whole && ZeroPadded(word)) return word + " begins with 0: write it without";
  if (type == "INT") return WrongSigned(word);
  if (type == "UINT") return WrongUnsigned(word);
  return type == "FLOAT" ? WrongReal(word) : "";
}

}  // namespace

std::string WrongNumber(const CLI::Option& option, const std::string& word) {
  const std::string what = Wrong(option.get_type_name(), word);
  return what.empty() ? "" : fmt::format("{}: {}", option.get_name(), what);
}

std::string WrongNumberOf(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->empty()) continue;
    if (std::string what = WrongNumber(*option, option->results().back()); !what.empty()) {
      return what;
    }
  }
  for (const CLI::App* command : app.get_subcommands()) {
    if (std::string what = WrongNumberOf(*command); !what.empty()) return what;
  }
  return "";
}

}  // namespace ds::tool
