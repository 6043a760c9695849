// Walks over the text of a JSON document without building it: what the parser cannot tell.
// Reads /* */, // and # comments; what is not JSON at all is left for the parser to refuse.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace ds {

// The text with the extras of ds_config.json (HJSON's) blanked out, every other character at its
// line and column: commas behind the last element, and comments of all kinds. One without an end
// stays.
std::string BlankJsonExtras(std::string_view text);

// The line (from 1) of every key of a text that ParseJson() accepts, by its path "a.b".
std::map<std::string, int> JsonKeyLines(std::string_view text);

}  // namespace ds
