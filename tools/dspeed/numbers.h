// The numbers of a command line: one that is none, or that is more than its flag holds, is refused.
#pragma once

#include <CLI/CLI.hpp>

namespace ds::tool {

// For every flag of the program and its commands, once all are added. The parser by itself takes
// the largest number there is for one that is larger, and a large one for one below 0.
void CheckNumbers(CLI::App& app);

}  // namespace ds::tool
