#include "param/param.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <memory>

namespace ds {

ParamValues::ParamValues(std::span<const float> values)
    : size_(static_cast<int64_t>(values.size())),
      digest_(values.empty() ? 0 : XXH3_64bits(values.data(), values.size_bytes())) {
  if (values.empty()) return;
  const auto held = std::make_shared<const std::vector<float>>(values.begin(), values.end());
  fill_ = [held](int64_t begin, std::span<float> out) -> Status {
    std::copy_n(held->begin() + begin, out.size(), out.begin());
    return {};
  };
}

Status ParamValues::Write(int64_t begin, std::span<float> out) const {
  if (fill_ != nullptr) return fill_(begin, out);
  std::fill(out.begin(), out.end(), 0.0f);
  return {};
}

}  // namespace ds
