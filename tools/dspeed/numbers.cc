#include "numbers.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace ds::tool {
namespace {

bool IsWhole(const std::string& word, const char* end) {
  return !word.empty() && end == word.c_str() + word.size();
}

// What is wrong with a word, or "". Bases as the parser takes them: 16, 0x10, 020.
std::string CheckSigned(const std::string& word) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(word.c_str(), &end, 0);
  if (!IsWhole(word, end)) return word + " is not a whole number";
  if (errno != ERANGE) return "";
  return fmt::format("{} is {} than {}", word, value < 0 ? "less" : "more", value);
}

std::string CheckUnsigned(const std::string& word) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(word.c_str(), &end, 0);
  if (!IsWhole(word, end)) return word + " is not a whole number";
  if (word.find('-') != word.npos) return word + " is less than 0";
  return errno == ERANGE ? fmt::format("{} is more than {}", word, value) : "";
}

std::string CheckReal(const std::string& word) {
  char* end = nullptr;
  (void)std::strtod(word.c_str(), &end);
  return IsWhole(word, end) ? "" : word + " is not a number";
}

}  // namespace

void CheckNumbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type == "INT") option->check(CheckSigned, "");
    if (type == "UINT") option->check(CheckUnsigned, "");
    if (type == "FLOAT") option->check(CheckReal, "");
  }
  for (CLI::App* command : app.get_subcommands(nullptr)) CheckNumbers(*command);
}

}  // namespace ds::tool
