// How far one spelling is from another: for "did you mean".
#pragma once

#include <string_view>

namespace ds {

// The least number of characters inserted, dropped or replaced that makes `a` of `b`. Costs the
// product of their lengths.
int EditDistance(std::string_view a, std::string_view b);

}  // namespace ds
