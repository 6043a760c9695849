#include "tensor/host_reduce.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace ds {
namespace {

constexpr int64_t kLengths[] = {0, 1, 1023, 1024, 1025, 3000};

template <typename T>
std::vector<std::vector<T>> Parts(int world, int64_t n) {
  std::vector<std::vector<T>> parts(world);
  for (int r = 0; r < world; ++r) {
    for (int64_t i = 0; i < n; ++i) {
      parts[r].push_back(T(static_cast<float>(RandomNormal(1, r, i)) * 1e3f));
    }
  }
  return parts;
}

template <typename T>
void ExpectTheDefinition(int world, int64_t n, bool in_place) {
  auto parts = Parts<T>(world, n);
  std::vector<T> want, out(n);
  for (int64_t i = 0; i < n; ++i) {
    float sum = static_cast<float>(parts[0][i]);
    for (int r = 1; r < world; ++r) sum += static_cast<float>(parts[r][i]);
    want.push_back(T(sum * 0.3f));
  }
  std::vector<const void*> pointers;
  for (const auto& part : parts) pointers.push_back(part.data());
  T* to = in_place ? parts[world / 2].data() : out.data();
  ReduceInOrder(DTypeOf<T>(), 0.3f, pointers, n, to);
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(static_cast<float>(to[i]), static_cast<float>(want[i]))
        << "world " << world << " n " << n << " at " << i;
  }
}

TEST(HostReduce, SumsInRankOrderAndRoundsOnce) {
  for (const int world : {1, 2, 5}) {
    for (const int64_t n : kLengths) {
      for (const bool in_place : {false, true}) {
        ExpectTheDefinition<float>(world, n, in_place);
        ExpectTheDefinition<BF16>(world, n, in_place);
      }
    }
  }
}

TEST(HostReduce, TheSumOf16BitValuesIsKeptIn32Bits) {
  // 256 + 1 + 1 + ... would stay 256 if each sum were rounded to 8 bits of fraction.
  std::vector<BF16> parts(9, BF16(1.0f));
  parts[0] = BF16(256.0f);
  std::vector<const void*> pointers;
  for (const BF16& part : parts) pointers.push_back(&part);
  BF16 out;
  ReduceInOrder(DType::kBF16, 1.0f, pointers, 1, &out);
  EXPECT_EQ(static_cast<float>(out), 264.0f);
}

}  // namespace
}  // namespace ds
