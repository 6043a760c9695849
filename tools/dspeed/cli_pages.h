// The command line as pages: what --help prints, the manual page, and the words that bash
// completes. All are made from the definitions of the commands, and so are never behind them.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace ds::tool {

// Gives the program, and the commands that are added to it later, their help pages.
void UseHelpPages(CLI::App& app);

// In the roff of man(7): dspeed.1.
std::string ManPage(const CLI::App& app, const std::string& version);
// To be sourced by bash.
std::string BashCompletion(const CLI::App& app);

}  // namespace ds::tool
