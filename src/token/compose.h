// Normal Form C of Unicode: letters and the marks on them put together where one code point stands
// for both. The compatibility forms are not here.
#pragma once

#include <string>
#include <string_view>

namespace ds::token {

// `text` is UTF-8; bytes that are not pass as they are.
std::string ComposeNfc(std::string_view text);

}  // namespace ds::token
