// What is wrong with a command line that could not be read.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>

namespace ds::tool {

// One line: the program with the command that was meant, the word that it does not know and the one
// that is nearest to it, or else what the parser says; and where to read more. `words`: all but the
// program's.
std::string ExplainMistyped(const CLI::App& app, std::span<char*> words,
                            const std::string& parser_says);

// What is wrong with a flag that took the next one for its value, as "--save --resume" does; "":
// none did. --save=--resume says that it is meant.
std::string SwallowedFlag(const CLI::App& app, std::span<char*> words);

}  // namespace ds::tool
