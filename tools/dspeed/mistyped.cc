#include "mistyped.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/edit_distance.h"
#include "numbers.h"

namespace ds::tool {
namespace {

// What is looked for among the flags, and where it is.
struct Elsewhere {
  std::string_view word, place;
};
constexpr Elsewhere kElsewhere[] = {
    {"--stage", "the ZeRO stage is zero_optimization.stage in the file of --config"},
    {"--zero-stage", "the ZeRO stage is zero_optimization.stage in the file of --config"},
    {"--learning-rate", "it is --lr"},
    {"--batch-size", "it is --batch"},
    {"--bf16", "it is --dtype bf16"},
    {"--fp16", "it is --dtype fp16"},
};

// "; did you mean train?", or "" when none of `known` is near.
std::string Suggestion(std::string_view word, const std::vector<std::string>& known) {
  const std::string_view near = Nearest(word, known);
  return near.empty() ? "" : fmt::format("; did you mean {}?", near);
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command :
       app.get_subcommands([](const CLI::App* one) { return !one->get_name().empty(); })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

bool Holds(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The command that the words name; `at` becomes the place of the first that is none.
const CLI::App& CommandOf(const CLI::App& app, std::span<char*> words, size_t& at) {
  const CLI::App* command = &app;
  while (at < words.size() && Holds(CommandNames(*command), words[at])) {
    command = command->get_subcommand(words[at++]);
  }
  return *command;
}

// A word where none is taken: most likely a model or a text without the flag that names it.
std::string LoneWord(std::string_view word, const std::vector<std::string>& flags) {
  std::error_code none;
  const bool folder = std::filesystem::is_directory(word, none);
  const bool file = std::filesystem::is_regular_file(word, none);
  const std::string_view flag = folder ? "--model" : file ? "--data" : "";
  return fmt::format("{} stands behind no flag{}", word,
                     Holds(flags, flag) ? fmt::format("; did you mean {} {}?", flag, word) : "");
}

// Of "Could not convert: --ranks = 9999999999" what is wrong with the value.
std::optional<std::string> NotConverted(const CLI::App& command, std::string_view parser_says) {
  constexpr std::string_view kSaid = "Could not convert: ", kSign = " = ";
  const size_t sign = parser_says.find(kSign);
  if (!parser_says.starts_with(kSaid) || sign == parser_says.npos) return std::nullopt;
  const std::string name(parser_says.substr(kSaid.size(), sign - kSaid.size()));
  const std::string word(parser_says.substr(sign + kSign.size()));
  const CLI::Option* option = command.get_option_no_throw(name);
  if (option == nullptr) return std::nullopt;
  if (std::string what = WrongNumber(*option, word); !what.empty()) return what;
  const bool is_switch = option->get_items_expected_max() == 0;
  return fmt::format("{}: {} is {}", name, word,
                     is_switch ? "neither true nor false" : "out of range");
}

}  // namespace

std::string ExplainMistyped(const CLI::App& app, std::span<char*> words,
                            const std::string& parser_says) {
  size_t at = 0;
  const CLI::App& command = CommandOf(app, words, at);
  std::string program = app.get_name();
  for (size_t i = 0; i < at; ++i) program += fmt::format(" {}", words[i]);
  const auto say = [&](std::string_view what) {
    return fmt::format("{}: {} (see {} --help)", program, what, program);
  };
  const std::vector<std::string> commands = CommandNames(command), flags = FlagNames(command);
  if (!commands.empty() && at < words.size() && words[at][0] != '-') {
    return say(fmt::format("there is no command {}{}", words[at], Suggestion(words[at], commands)));
  }
  if (!commands.empty() && at == words.size()) {
    return say(fmt::format("a command is needed: {}", fmt::join(commands, ", ")));
  }
  const bool takes_words =
      !command.get_options([](const CLI::Option* one) { return one->get_positional(); }).empty();
  if (at < words.size() && words[at][0] != '-' && !takes_words) {
    return say(LoneWord(words[at], flags));
  }
  for (; at < words.size(); ++at) {
    std::string_view word = words[at];
    if (word == "--") break;  // what follows are no flags
    word = word.substr(0, word.find('='));
    if (word.size() > 2 && word[0] == '-' && std::isalpha(static_cast<unsigned char>(word[1]))) {
      return say(
          fmt::format("there is no flag {}{}", word, Suggestion(fmt::format("-{}", word), flags)));
    }
    if (!word.starts_with("--") || Holds(flags, word)) continue;
    const auto* other = std::find_if(std::begin(kElsewhere), std::end(kElsewhere),
                                     [&](const Elsewhere& one) { return one.word == word; });
    if (other != std::end(kElsewhere) && Holds(flags, "--config")) {
      return say(fmt::format("there is no flag {}: {}", word, other->place));
    }
    return say(fmt::format("there is no flag {}{}", word, Suggestion(word, flags)));
  }
  return say(NotConverted(command, parser_says).value_or(parser_says));
}

std::string SwallowedFlag(const CLI::App& app, std::span<char*> words) {
  size_t at = 0;
  const CLI::App& command = CommandOf(app, words, at);
  const auto flag = [&](std::string_view word) {
    return word.starts_with('-') ? command.get_option_no_throw(std::string(word)) : nullptr;
  };
  for (; at + 1 < words.size(); ++at) {
    const std::string_view word = words[at];
    if (word == "--") break;  // what follows are no flags
    const CLI::Option* option = flag(word);
    if (option == nullptr || option->get_items_expected_max() == 0) continue;
    if (flag(words[at + 1]) == nullptr) continue;
    return fmt::format("{0} has no value: {1} is a flag ({0}={1}, if that is meant)", word,
                       words[at + 1]);
  }
  return "";
}

}  // namespace ds::tool
