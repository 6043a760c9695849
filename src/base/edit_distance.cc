#include "base/edit_distance.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace ds {

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::string_view Nearest(std::string_view name, const std::vector<std::string>& names) {
  std::string_view nearest;
  // A third of the letters wrong and one more; of a short word one alone.
  int least = name.size() <= 3 ? 2 : static_cast<int>(name.size() / 3) + 2;
  for (const std::string& candidate : names) {
    if (const int distance = EditDistance(candidate, name); distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace ds
