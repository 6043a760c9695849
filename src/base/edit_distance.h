// How far one spelling is from another: for "did you mean".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds {

// The least number of characters inserted, dropped or replaced that makes `a` of `b`. Costs the
// product of their lengths.
int EditDistance(std::string_view a, std::string_view b);

// The entry of `names` that is closest in spelling to `name`, or "" when none is near.
std::string_view Nearest(std::string_view name, const std::vector<std::string>& names);

}  // namespace ds
