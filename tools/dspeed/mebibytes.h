// Bytes as people read them.
#pragma once

#include <cstdint>

namespace ds::tool {

inline double MiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace ds::tool
