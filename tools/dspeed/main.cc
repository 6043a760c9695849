// dspeed: trains a language model, generates from it, makes tokenizers and files of tokens,
// explains a config, tells what this machine uses.
#include <cstdio>
#include <exception>
#include <thread>

#include <deepspeed/ds_base.h>

#include "command.h"

namespace ds::tool {

int CpuThreads(int asked) {
  if (asked > 0) return asked;
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return cores > 0 ? cores : 1;
}

}  // namespace ds::tool

namespace {

int Run(int argc, char** argv) {
  CLI::App app("Sharded training of language models.", "dspeed");
  app.require_subcommand(1);
  // So that a script can add to a command line of its own.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", fmt::format("dspeed {}.{}.{}", DS_VERSION_MAJOR,
                                                DS_VERSION_MINOR, DS_VERSION_PATCH));
  ds::tool::Chosen chosen;
  ds::tool::AddTrain(app, chosen);
  ds::tool::AddGenerate(app, chosen);
  ds::tool::AddTokenize(app, chosen);
  ds::tool::AddTokenizer(app, chosen);
  ds::tool::AddConfig(app, chosen);
  ds::tool::AddReport(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "dspeed: %s (see dspeed --help)\n", e.what());
    return 2;
  }
  const std::string command = app.get_subcommands().front()->get_name();
  const ds::Status status = chosen();
  if (status.ok()) return 0;
  std::fflush(stdout);
  if (!status.message().empty()) {  // else another process says it
    std::fprintf(stderr, "dspeed %s: %s\n", command.c_str(), status.message().c_str());
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("dspeed: out of memory\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "dspeed: %s\n", e.what());
  }
  return 1;
}
