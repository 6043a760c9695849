#include "cli_pages.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "model/family.h"
#include "progress.h"

namespace ds::tool {
namespace {

using Options = std::vector<const CLI::Option*>;
using Apps = std::vector<const CLI::App*>;

bool IsFlag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

// What stands for the value of an option.
std::string ValueName(const CLI::Option& option) {
  static constexpr std::pair<std::string_view, const char*> kNames[] = {
      {"--data", "FILE"}, {"--config", "FILE"},   {"--trace", "FILE"}, {"--per-token", "FILE"},
      {"--mix", "FILE"},  {"--model", "DIR"},     {"--save", "DIR"},   {"--log", "DIR"},
      {"--dir", "DIR"},   {"--preset", "NAME"},   {"--dtype", "TYPE"}, {"--prompt", "TEXT"},
      {"--stop", "TEXT"}, {"--special", "TOKEN"}, {"--base", "DIR"},   {"--out", "PATH"}};
  if (IsFlag(option)) return "";
  const std::string name = option.get_name();
  for (const auto& [known, value] : kNames) {
    if (name == known) return value;
  }
  const std::string type = option.get_type_name();
  if (type == "INT" || type == "UINT") return "N";
  return type == "FLOAT" ? "X" : "VALUE";
}

std::string Signature(const CLI::Option& option) {
  const std::string value = ValueName(option);
  std::string name = option.get_name(option.get_positional(), !option.get_positional());
  if (const size_t comma = name.find(','); comma != std::string::npos) name.insert(comma + 1, " ");
  return name + (value.empty() || option.get_positional() ? "" : " " + value);
}

// With what holds when it is not given.
std::string Explanation(const CLI::Option& option) {
  std::string text = option.get_description();
  const std::string standard = option.get_default_str();
  if (!standard.empty() && !IsFlag(option)) {
    text += fmt::format(" [{}]", standard);
  }
  return text;
}

Options OptionsOf(const CLI::App& app, const std::string& group) {
  return app.get_options([&](const CLI::Option* option) { return option->get_group() == group; });
}

// Those with options, the help last.
std::vector<std::string> GroupsOf(const CLI::App& app) {
  std::vector<std::string> groups;
  for (const std::string& group : app.get_groups()) {
    if (!group.empty() && !OptionsOf(app, group).empty()) groups.push_back(group);
  }
  std::stable_partition(groups.begin(), groups.end(),
                        [](const std::string& group) { return group != "Options"; });
  return groups;
}

Apps CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

// The text from column `indent` on, after `before`, which may reach beyond it.
std::string Hanging(const std::string& before, const std::string& text, size_t indent,
                    size_t columns) {
  std::string out = before;
  if (before.size() + 2 > indent) {
    out += "\n" + std::string(indent, ' ');
  } else {
    out += std::string(indent - before.size(), ' ');
  }
  size_t at = indent;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const size_t length = end - begin;
    if (at > indent && at + 1 + length > columns) {
      out += "\n" + std::string(indent, ' ');
      at = indent;
    } else if (at > indent) {
      out += ' ';
      ++at;
    }
    out += text.substr(begin, length);
    at += length;
    begin = end + 1;
  }
  return out + "\n";
}

std::string Usage(const CLI::App& app, const std::string& name) {
  std::string usage = name;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_required()) usage += " " + Signature(*option);
  }
  if (!CommandsOf(app).empty()) return usage + " COMMAND ...";
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() && !option->get_required()) {
      usage += " [" + Signature(*option) + "]";
    }
  }
  return usage + " [options]";
}

class HelpPage final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode) const override {
    constexpr size_t kIndent = 28;
    const size_t columns = std::clamp<size_t>(TerminalColumns(STDOUT_FILENO), 60, 100);
    // The program's own name stands before that of a command.
    const std::string full = app->get_parent() == nullptr || name.find(' ') != std::string::npos
                                 ? (name.empty() ? app->get_name() : name)
                                 : app->get_parent()->get_name() + " " + app->get_name();
    std::string page = app->get_description() + "\n\n  " + Usage(*app, full) + "\n";
    if (const Apps commands = CommandsOf(*app); !commands.empty()) {
      page += "\nCommands\n";
      for (const CLI::App* command : commands) {
        page += Hanging("  " + command->get_name(), command->get_description(), 14, columns);
      }
    }
    for (const std::string& group : GroupsOf(*app)) {
      page += "\n" + group + "\n";
      for (const CLI::Option* option : OptionsOf(*app, group)) {
        page += Hanging("  " + Signature(*option), Explanation(*option), kIndent, columns);
      }
    }
    if (!app->get_footer().empty()) page += "\n" + app->get_footer() + "\n";
    return page;
  }
};

// Text that roff prints as it is.
std::string Roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) {
      out += std::string("\\&") + c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string ManOptions(const CLI::App& app) {
  std::string page;
  for (const std::string& group : GroupsOf(app)) {
    for (const CLI::Option* option : OptionsOf(app, group)) {
      if (option == app.get_help_ptr()) continue;
      page += ".TP\n.B " + Roff(Signature(*option)) + "\n" + Roff(Explanation(*option)) + "\n";
    }
  }
  return page;
}

// All that can be run: commands, and instead of one that has its own, these; `name` is in front.
std::vector<std::pair<std::string, const CLI::App*>> RunnableOf(const CLI::App& app,
                                                                const std::string& name) {
  std::vector<std::pair<std::string, const CLI::App*>> runnable;
  for (const CLI::App* command : CommandsOf(app)) {
    const std::string full = fmt::format("{} {}", name, command->get_name());
    auto below = RunnableOf(*command, full);
    if (below.empty()) below.emplace_back(full, command);
    std::move(below.begin(), below.end(), std::back_inserter(runnable));
  }
  return runnable;
}

// The flags that may stand behind the command.
std::string FlagsOf(const CLI::App& app) {
  std::string flags;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option->get_group().empty()) continue;  // "": not shown
    flags += (flags.empty() ? "" : " ") + option->get_name(false, false);
  }
  return flags;
}

// For `case`: a command of two words comes before the one that is its first.
std::string FlagCases(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : CommandsOf(app)) {
    for (const CLI::App* below : CommandsOf(*command)) {
      cases += fmt::format("    '{} {}') words='{}' ;;\n", command->get_name(), below->get_name(),
                           FlagsOf(*below));
    }
    cases += fmt::format("    '{} '*) words='{}' ;;\n", command->get_name(), FlagsOf(*command));
  }
  return cases;
}

}  // namespace

void UseHelpPages(CLI::App& app) { app.formatter(std::make_shared<HelpPage>()); }

std::string ManPage(const CLI::App& app, const std::string& version) {
  std::string page = fmt::format(
      ".TH DSPEED 1 \"\" \"libdeepspeed {}\" \"User Commands\"\n.SH NAME\ndspeed \\- {}\n"
      ".SH SYNOPSIS\n",
      version, Roff(app.get_description()));
  const auto commands = RunnableOf(app, "dspeed");
  for (const auto& [name, command] : commands) {
    page += ".B " + Roff(Usage(*command, name)) + "\n.br\n";
  }
  page += ".SH COMMANDS\n";
  for (const auto& [name, command] : commands) {
    page += ".SS " + Roff(name) + "\n" + Roff(command->get_description()) + ".\n" +
            ManOptions(*command);
    if (!command->get_footer().empty()) {
      page += ".PP\n.nf\n" + Roff(command->get_footer()) + "\n.fi\n";
    }
  }
  return page +
         ".SH EXIT STATUS\n0, or 1 after one line on standard error that says what went wrong, or "
         "2 where the\ncommand line could not be read, or 129, 130, 141 or 143 where SIGHUP, "
         "SIGINT, "
         "SIGPIPE or\nSIGTERM ended the work before it was done: train has saved then.\n"
         ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nSet and not empty: no colours on a terminal.\n"
         ".TP\n.B DS_GEMM\nonednn or simd: where matrix products come from.\n"
         ".TP\n.B DS_CPU_ISA\nref, sse4, avx2 or avx512: the widest instruction set to use.\n"
         ".TP\n.B DS_MODULE_PATH\nA folder to look for the modules of libdeepspeed in.\n";
}

std::string BashCompletion(const CLI::App& app) {
  std::string commands, families;
  for (const CLI::App* command : CommandsOf(app)) {
    commands += (commands.empty() ? "" : " ") + command->get_name();
  }
  for (const model::Family* family : model::Families())
    families += " " + std::string(family->model_type);
  return R"bash(# Completion of dspeed for bash; made by: dspeed completion
# A name may have spaces: what compgen prints is split at its lines alone.
_dspeed_offer() { mapfile -t COMPREPLY < <("$@"); }
_dspeed() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=''
  local program=${COMP_WORDS[0]}
  [ "${program:0:2}" = '~/' ] && program=$HOME${program:1}
  if [ "$COMP_CWORD" -eq 1 ]; then
    _dspeed_offer compgen -W ')bash" +
         commands + R"bash( --help --version' -- "$word"
    return
  fi
  # Of --flag=value the = is a word of its own.
  if [ "$word" = = ]; then
    word=''
  elif [ "$before" = = ]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $before in
    --dtype) words='fp32 bf16 fp16' ;;
    --format) words='auto text jsonl chat tokens' ;;
)bash" + ("    --family) words='" + families + "' ;;\n") +
         R"bash(    --layout) words='llmc nanogpt' ;;
    --split) words='gpt2 llama3 qwen2 smollm' ;;
    tokenizer) [ "${word:0:1}" = - ] || words='train' ;;
    --tokenizer)
      _dspeed_offer eval 'compgen -W "bytes chars" -- "$word"; compgen -f -- "$word"'
      return ;;
    --preset)
      words=$("$program" train --list-presets 2>/dev/null | sed -n 's/^\([^ ]*\) .*/\1/p')
      _dspeed_offer eval 'compgen -W "$words" -- "$word"; compgen -f -X "!*.json" -- "$word"'
      return ;;
    --model|--base|--save|--log|--dir) _dspeed_offer compgen -d -- "$word"; return ;;
  esac
  if [ -n "$words" ]; then
    _dspeed_offer compgen -W "$words" -- "$word"
    return
  fi
  if [ "${word:0:1}" != - ]; then
    _dspeed_offer compgen -f -- "$word"
    return
  fi
  case "${COMP_WORDS[1]} ${COMP_WORDS[2]}" in
)bash" + FlagCases(app) +
         R"bash(  esac
  _dspeed_offer compgen -W "$words" -- "$word"
}
complete -o filenames -F _dspeed dspeed
)bash";
}

}  // namespace ds::tool
