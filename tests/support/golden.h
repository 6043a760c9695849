// Where the golden files are: DS_GOLDEN_DIR, or tests/golden of the source tree.
#pragma once

#include <cstdlib>
#include <string>

namespace ds::test {

inline std::string GoldenPath(const std::string& name) {
  if (const char* folder = std::getenv("DS_GOLDEN_DIR"); folder != nullptr && *folder != '\0') {
    return std::string(folder) + "/" + name;
  }
  return std::string(DS_SOURCE_DIR) + "/tests/golden/" + name;
}

}  // namespace ds::test
