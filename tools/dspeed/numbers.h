// The numbers of a command line: one that is none, or that is more than its flag holds, is refused.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace ds::tool {

// "--steps: ten is not a whole number", or "" where `word` suits the flag. The parser by itself
// takes the largest number there is for one that is larger, and a large one for one below 0.
std::string WrongNumber(const CLI::Option& option, const std::string& word);

// The first that is wrong of the flags of `app` and its commands, as they were parsed; "": none.
// Where a flag is given again the last one counts.
std::string WrongNumberOf(const CLI::App& app);

}  // namespace ds::tool
