#include "infer/weight_store.h"

#include <gtest/gtest.h>

#include <numeric>

namespace ds::infer {
namespace {

class WeightStoreTest : public testing::Test {
 protected:
  ParamId Register(WeightStore& store, int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    std::iota(values.begin(), values.end(), static_cast<float>(++registered_));
    auto id = store.Register({"w", {n}, ""}, values);
    EXPECT_TRUE(id.ok()) << id.status().message();
    return *id;
  }
  // The first of them, when each is one more than the one before it.
  static float FirstOf(WeightStore& store, ParamId id, int64_t n) {
    const auto* values = static_cast<const BF16*>(*store.Acquire(id));
    for (int64_t i = 1; i < n; ++i) {
      EXPECT_EQ(static_cast<float>(values[i]),
                static_cast<float>(values[0]) + static_cast<float>(i));
    }
    EXPECT_TRUE(store.Release(id).ok());
    return static_cast<float>(values[0]);
  }

  TaskPool pool_{2};
  device::MemoryAccount account_;
  int registered_ = 0;
};

TEST_F(WeightStoreTest, WhatWasReservedHoldsAllOfItAlignedAndNoMore) {
  WeightStore store(DType::kBF16, pool_, account_);
  ASSERT_TRUE(store.Reserve(3, 33 + 1 + 32).ok());
  const int64_t reserved = account_.bytes(device::MemoryKind::kWeights);
  EXPECT_EQ(reserved, 2 * 66 + 3 * 63);
  const std::vector<int64_t> sizes = {33, 1, 32};
  std::vector<ParamId> ids;
  for (const int64_t n : sizes) ids.push_back(Register(store, n));
  EXPECT_EQ(account_.bytes(device::MemoryKind::kWeights), reserved);
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*store.Acquire(ids[i])) % 64, 0u);
    EXPECT_EQ(FirstOf(store, ids[i], sizes[i]), static_cast<float>(i + 1));
  }
  // There is no room left: a buffer of its own.
  const ParamId more = Register(store, 64);
  EXPECT_EQ(account_.bytes(device::MemoryKind::kWeights), reserved + 128);
  EXPECT_EQ(FirstOf(store, more, 64), 4.0f);
  EXPECT_EQ(FirstOf(store, ids[0], 33), 1.0f);
}

TEST_F(WeightStoreTest, RefusesWhatNoMemoryHolds) {
  WeightStore store(DType::kBF16, pool_, account_);
  for (const int64_t elements : {INT64_MAX, int64_t{-1}}) {
    EXPECT_EQ(store.Reserve(1, elements).code(), Code::kInvalidArgument);
    EXPECT_EQ(store.Reserve(elements, 1).code(), Code::kInvalidArgument);
  }
}

TEST_F(WeightStoreTest, NothingNeedBeReserved) {
  WeightStore store(DType::kBF16, pool_, account_);
  const ParamId first = Register(store, 5), second = Register(store, 7);
  EXPECT_EQ(FirstOf(store, first, 5), 1.0f);
  EXPECT_EQ(FirstOf(store, second, 7), 2.0f);
  EXPECT_EQ(account_.bytes(device::MemoryKind::kWeights), 10 + 14);
}

TEST_F(WeightStoreTest, TellsWhatIsNotItsSize) {
  WeightStore store(DType::kF32, pool_, account_);
  const auto id = store.Register({"w", {2, 3}, ""}, std::vector<float>(5));
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.status().message(), "w: 5 values for 6 elements");
}

}  // namespace
}  // namespace ds::infer
