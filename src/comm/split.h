// Which ranks of a group make a new one together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ds::comm {

struct ColorKey {
  int32_t color, key;
};

// The ranks of the colour of `rank`, in the order of their ranks to be.
inline std::vector<int> MembersWith(const std::vector<ColorKey>& all, int rank) {
  std::vector<int> members;
  for (int r = 0; r < static_cast<int>(all.size()); ++r) {
    if (all[r].color == all[rank].color) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(),
                   [&](int a, int b) { return all[a].key < all[b].key; });
  return members;
}

}  // namespace ds::comm
