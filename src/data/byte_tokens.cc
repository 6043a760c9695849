#include "data/byte_tokens.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace ds::data {

Result<ByteTokens> ByteTokens::Open(const std::string& path, int64_t window) {
  if (window < 2) return InvalidArgument("a window of {} tokens, expected at least 2", window);
  DS_ASSIGN(MappedFile file, MappedFile::Open(path));
  const auto size = static_cast<int64_t>(file.bytes().size());
  if (size == 0) return InvalidArgument("{}: is empty", path);
  if (window > size / 2) {
    return InvalidArgument(
        "{}: has {} bytes, at least {} are needed: a window of {} for training and one for "
        "validation",
        path, size, 2 * static_cast<uint64_t>(window), window);
  }
  const int64_t validation = std::max(size / 10, window);
  return ByteTokens(std::move(file), static_cast<size_t>(size - validation));
}

double UnigramEntropy(std::span<const uint8_t> text) {
  std::array<int64_t, 256> counts = {};
  for (const uint8_t byte : text) ++counts[byte];
  const auto n = static_cast<double>(text.size());
  double entropy = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / n;
    entropy -= p * std::log(p);
  }
  return entropy;
}

}  // namespace ds::data
