// Names that are the same in any case.
#pragma once

#include <algorithm>
#include <string>

namespace ds {

// With small letters for A to Z; other characters, and the user's language, do not matter.
inline std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

}  // namespace ds
