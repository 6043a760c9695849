// dspeed: trains a language model, tells beforehand what that needs, measures one, generates from
// it, makes tokenizers and files of tokens, explains a config, tells what this machine uses.
#include <malloc.h>

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>

#include <deepspeed/ds_base.h>

#include "base/host.h"
#include "bus_error.h"
#include "cli_pages.h"
#include "command.h"
#include "engine/assembly.h"
#include "engine/config_range.h"
#include "interrupt.h"
#include "mistyped.h"
#include "numbers.h"

namespace ds::tool {

CLI::Option* Repeated(CLI::Option* option) {
  return option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
}

int CpuThreads(int asked) { return asked > 0 ? asked : UsableCores(); }

Status CheckOther(const char* flag, const std::string& out, const std::string& in) {
  std::error_code none;
  if (out.empty() || !std::filesystem::equivalent(out, in, none) || none) return {};
  return InvalidArgument("{} is {}, which is read: give another", flag, out);
}

}  // namespace ds::tool

namespace {

const std::string kVersion =
    fmt::format("{}.{}.{}", DS_VERSION_MAJOR, DS_VERSION_MINOR, DS_VERSION_PATCH);

// A word of the command line, which may be of any length, is cut in a message; a path is not,
// while it is one.
std::string Shortened(std::string message, int argc, char** argv) {
  constexpr size_t kWord = 80, kPath = 1024;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    const size_t sign = word.starts_with("--") ? word.find('=') : word.npos;
    if (sign != word.npos) word.erase(0, sign + 1);
    const size_t most = word.find('/') == word.npos ? kWord : kPath;
    const size_t at = word.size() > most ? message.find(word) : message.npos;
    if (at != message.npos) message.replace(at, word.size(), ds::ShortText(word, most));
  }
  return message;
}

// An empty value is most often a variable of a script that was not set.
std::string EmptyWord(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], before = argv[i - 1];
    if (word.empty()) return before.starts_with("--") && i > 1 ? before : "an argument";
    if (word.starts_with("--") && word.find('=') == word.size() - 1) {
      return word.substr(0, word.size() - 1);
    }
  }
  return "";
}

// ... of a length that a person reads, whatever a file that it names holds.
std::string ShortLine(const std::string& message) {
  constexpr size_t kMost = 2000;
  return ds::ShortText(ds::OneLine(message), kMost);
}

// A file that is opened while standard output is closed would get its number, and then what is
// printed. Held open the wrong way round, the number is taken and its use still an error.
void HoldStandardFiles() {
  for (int fd = 0; fd < 3; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    const int held = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    (void)held;  // the lowest number that is free: fd
  }
}

// What was printed counts only once it is where it was to go: a full disk is a failure.
ds::Status FlushOutput() {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good()) return {};
  return ds::Error(ds::Code::kIo, "cannot write the output: {}", std::strerror(errno));
}

ds::Status Print(const std::string& text) {
  ds::tool::Say("{}", text);
  return {};
}

int Run(int argc, char** argv) {
  CLI::App app("Train language models over sharded ranks, measure them, and use them", "dspeed");
  app.require_subcommand(1);
  // So that a script can add to a command line of its own.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", "dspeed " + kVersion);
  ds::tool::UseHelpPages(app);
  ds::tool::Chosen chosen;
  ds::tool::AddTrain(app, chosen);
  ds::tool::AddPlan(app, chosen);
  ds::tool::AddGenerate(app, chosen);
  ds::tool::AddTokenize(app, chosen);
  ds::tool::AddTokenizer(app, chosen);
  ds::tool::AddMerge(app, chosen);
  ds::tool::AddEval(app, chosen);
  ds::tool::AddConfig(app, chosen);
  ds::tool::AddReport(app, chosen);
  ds::tool::AddBench(app, chosen);
  app.add_subcommand("man", "Print this program's manual page, dspeed.1")->callback([&] {
    chosen = [&] { return Print(ds::tool::ManPage(app, kVersion)); };
  });
  app.add_subcommand("completion", "Print what makes bash complete dspeed's command line")
      ->callback([&] { chosen = [&] { return Print(ds::tool::BashCompletion(app)); }; });
  const auto words = std::span(argv, static_cast<size_t>(argc)).subspan(1);
  const auto refuse = [&](const std::string& what) {
    const std::string message = ds::tool::ExplainMistyped(app, words, what);
    std::fprintf(stderr, "%s\n", ShortLine(Shortened(message, argc, argv)).c_str());
    return 2;
  };
  if (const std::string empty = EmptyWord(argc, argv); !empty.empty()) {
    return refuse(empty + " is empty, expected a value");
  }
  if (const std::string flag = ds::tool::SwallowedFlag(app, words); !flag.empty()) {
    return refuse(flag);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {  // --help, --version
      app.exit(e);
      const ds::Status status = FlushOutput();
      if (!status.ok()) std::fprintf(stderr, "dspeed: %s\n", status.message().c_str());
      return status.ok() ? 0 : 1;
    }
    const std::string wrong =
        ds::tool::WrongNumberOf(app);  // what is there, before what is missing
    return refuse(wrong.empty() ? e.what() : wrong);
  }
  if (const std::string wrong = ds::tool::WrongNumberOf(app); !wrong.empty()) return refuse(wrong);
  if (const ds::Status status = ds::CheckEnvironment(); !status.ok()) {
    std::fprintf(stderr, "dspeed: %s\n", ShortLine(status.message()).c_str());
    return 1;
  }
  std::string command;  // with what is below it: "tokenizer train"
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    command += (command.empty() ? "" : " ") + at->get_name();
  }
  ds::Status status = chosen();
  if (const ds::Status flushed = FlushOutput(); status.ok()) status = flushed;
  const int interrupted = ds::tool::InterruptedStatus();
  if (status.ok()) return interrupted;
  if (!status.message().empty()) {  // else another process says it
    std::fprintf(stderr, "dspeed %s: %s\n", command.c_str(),
                 ShortLine(Shortened(status.message(), argc, argv)).c_str());
  }
  return interrupted != 0 ? interrupted : 1;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Else the first large block that is freed raises the limit from which on blocks are mapped, and
  // what is freed later stays with the process: a run would hold more than it has use for.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
  HoldStandardFiles();
  ds::tool::ExplainBusErrors();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may grow no more is an error of its write
  try {
    return Run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("dspeed: out of memory\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "dspeed: %s\n", ShortLine(e.what()).c_str());
  }
  return 1;
}
