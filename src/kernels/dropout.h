// Which elements dropout keeps (Srivastava et al. 2014), as a pure function of a seed, a site and a
// place: backward and a second forward pass draw the same again, and so does any number of threads
// or ranks.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/rng.h"

namespace ds::kernels {

// A row of an array is cut into pieces of 128 columns. Philox group g of a piece, of 16, has eight
// 16-bit values; the k-th is that of column 16 k + g.
struct Dropout {
  static constexpr int64_t kPiece = 128, kGroups = 16;

  uint32_t threshold = 0;  // of 65536 values, how many drop an element; 0: all are kept
  float factor = 1;        // of what is kept
  uint64_t seed = 0, site = 0;
  int64_t row = 0;  // number of the array's first row among all that ever pass the site

  Dropout() = default;
  // `rate` in [0, 1) is rounded to 1 / 65536.
  Dropout(double rate, uint64_t seed, uint64_t site, int64_t row)
      : threshold(static_cast<uint32_t>(std::lround(rate * 65536))),
        factor(65536.0f / static_cast<float>(65536 - threshold)),
        seed(seed),
        site(site),
        row(row) {}

  bool drops() const { return threshold > 0; }
  // The first group of a row of `width` columns.
  uint64_t GroupOf(int64_t r, int64_t width) const {
    const auto pieces = static_cast<uint64_t>((width + kPiece - 1) / kPiece);
    return static_cast<uint64_t>(row + r) * pieces * static_cast<uint64_t>(kGroups);
  }
  // What element (r, c) of rows of `width` columns is multiplied by: 0 or `factor`.
  float Factor(int64_t r, int64_t width, int64_t c) const {
    const int64_t in_piece = c % kPiece, k = in_piece / kGroups;
    const uint64_t group = GroupOf(r, width) + static_cast<uint64_t>(c / kPiece * kGroups) +
                           static_cast<uint64_t>(in_piece % kGroups);
    const uint32_t word = RandomBits(seed, site, group)[static_cast<size_t>(k / 2)];
    const uint32_t value = k % 2 == 0 ? word & 0xFFFF : word >> 16;
    return value < threshold ? 0.0f : factor;
  }
};

}  // namespace ds::kernels
