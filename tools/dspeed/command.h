// What the commands of dspeed have in common: how one is added to the program, and how it ends.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdio>
#include <functional>
#include <string>
#include <utility>

#include "base/status.h"

namespace ds::tool {

// Set by the command that the arguments chose; run after they were all read.
using Chosen = std::function<Status()>;

void AddTrain(CLI::App& app, Chosen& chosen);
void AddPlan(CLI::App& app, Chosen& chosen);
void AddGenerate(CLI::App& app, Chosen& chosen);
void AddMerge(CLI::App& app, Chosen& chosen);
void AddEval(CLI::App& app, Chosen& chosen);
void AddConfig(CLI::App& app, Chosen& chosen);
void AddTokenize(CLI::App& app, Chosen& chosen);
void AddTokenizer(CLI::App& app, Chosen& chosen);
void AddBench(CLI::App& app, Chosen& chosen);
void AddReport(CLI::App& app, Chosen& chosen);

// Prints. What cannot be written, to a full disk, a closed pipe or a terminal that is gone, ends no
// run: of standard output main() says it at the end.
template <typename... Args>
void Say(std::FILE* out, fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fwrite(text.data(), 1, text.size(), out);
}
template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) {
  Say(stdout, format, std::forward<Args>(args)...);
}

// Refuses the file `out` of `flag` where it is the same file as `in`, which is read.
Status CheckOther(const char* flag, const std::string& out, const std::string& in);

// An option that may be given several times: each time is one value, though it were "[a,b]".
CLI::Option* Repeated(CLI::Option* option);

// What the option said; else one thread a core that the process may use.
int CpuThreads(int asked);

}  // namespace ds::tool
