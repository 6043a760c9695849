#include "token/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>

namespace ds::token {
namespace {

struct Range {
  uint32_t first, last;
};

#include "token/unicode_classes.inc"

template <size_t N>
bool Contains(const Range (&ranges)[N], uint32_t c) {
  const Range* const found =
      std::upper_bound(ranges, ranges + N, c,
                       [](uint32_t value, const Range& range) { return value < range.first; });
  return found != ranges && c <= std::prev(found)->last;
}

CharClass Search(uint32_t c) {
  if (Contains(kLetters, c)) return CharClass::kLetter;
  if (Contains(kNumbers, c)) return CharClass::kNumber;
  return Contains(kSpaces, c) ? CharClass::kSpace : CharClass::kOther;
}

// Nearly all text is of the first plane, where a look-up is one load.
constexpr uint32_t kPlane = 0x10000;
using Plane = std::array<CharClass, kPlane>;

std::unique_ptr<const Plane> FirstPlane() {
  auto plane = std::make_unique<Plane>();
  for (uint32_t c = 0; c < kPlane; ++c) (*plane)[c] = Search(c);
  return plane;
}

}  // namespace

CharClass ClassOf(uint32_t code_point) {
  static const std::unique_ptr<const Plane> plane = FirstPlane();
  return code_point < kPlane ? (*plane)[code_point] : Search(code_point);
}

bool IsWord(uint32_t code_point) {
  switch (ClassOf(code_point)) {
    case CharClass::kLetter:
      return true;
    case CharClass::kNumber:
      return !Contains(kNumbersNoWords, code_point);
    default:
      return Contains(kOtherWords, code_point);
  }
}

}  // namespace ds::token
