#include "infer/grown_table.h"

#include <algorithm>

namespace ds::infer {

Status GrownTable::Read(int64_t begin, std::span<float> out) {
  const auto size = static_cast<int64_t>(out.size());
  const int64_t there = std::clamp<int64_t>(table_.numel() - begin, 0, size);
  if (there > 0) {
    DS_TRY(checkpoint::ReadAsFloat(table_, begin, out.first(static_cast<size_t>(there))));
  }
  if (there == size) return {};
  std::call_once(once_, [&] { found_ = FindMean(); });
  DS_TRY(found_);
  for (int64_t i = there; i < size; ++i) {
    out[static_cast<size_t>(i)] = mean_[static_cast<size_t>(begin + i) % mean_.size()];
  }
  return {};
}

Status GrownTable::FindMean() {
  const int64_t rows = table_.shape[0], width = table_.shape[1];
  std::vector<float> row(static_cast<size_t>(width));
  std::vector<double> sums(row.size());
  for (int64_t r = 0; r < rows; ++r) {
    DS_TRY(checkpoint::ReadAsFloat(table_, r * width, row));
    for (size_t i = 0; i < row.size(); ++i) sums[i] += static_cast<double>(row[i]);
  }
  mean_.resize(row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    mean_[i] = static_cast<float>(sums[i] / static_cast<double>(rows));
  }
  return {};
}

}  // namespace ds::infer
