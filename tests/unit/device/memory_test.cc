#include "device/memory.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

namespace ds::device {
namespace {

TEST(Buffer, IsZeroedAlignedAndBooked) {
  MemoryAccount account;
  for (const int64_t bytes : {1, 63, 64, 4097, (2 << 20) + 1}) {
    auto made = Buffer::Create(account, MemoryKind::kWindows, bytes);
    ASSERT_TRUE(made.ok());
    EXPECT_EQ(made->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(made->data()) % 64, 0u);
    for (const std::byte b : made->as<std::byte>()) ASSERT_EQ(b, std::byte{0});
    EXPECT_EQ(account.bytes(MemoryKind::kWindows), bytes);
    EXPECT_EQ(account.bytes(MemoryKind::kWeights), 0);
    EXPECT_EQ(account.total(), bytes);
  }
  EXPECT_EQ(account.total(), 0);
  EXPECT_EQ(account.peak(), (2 << 20) + 1);
}

TEST(Buffer, MovesItsBookingAlong) {
  MemoryAccount account;
  auto a = Buffer::Create(account, MemoryKind::kMaster, 100);
  auto b = Buffer::Create(account, MemoryKind::kMoments, 50);
  ASSERT_TRUE(a.ok() && b.ok());
  const std::byte* data = a->data();
  *b = std::move(*a);
  EXPECT_EQ(b->data(), data);
  EXPECT_EQ(a->data(), nullptr);
  EXPECT_EQ(a->bytes(), 0);
  EXPECT_EQ(account.bytes(MemoryKind::kMaster), 100);
  EXPECT_EQ(account.bytes(MemoryKind::kMoments), 0);
  *b = {};
  EXPECT_EQ(account.total(), 0);
  EXPECT_EQ(account.peak(), 150);
}

TEST(Buffer, NothingIsEmptyAndTooMuchIsRefused) {
  MemoryAccount account;
  const auto none = Buffer::Create(account, MemoryKind::kScratch, 0);
  EXPECT_TRUE(none.ok());
  for (const int64_t bytes : {(int64_t{1} << 60) + 1, std::numeric_limits<int64_t>::max() - 1}) {
    const auto made = Buffer::Create(account, MemoryKind::kMaster, bytes);
    EXPECT_EQ(made.status().code(), Code::kOutOfMemory);
    EXPECT_EQ(made.status().message(),
              fmt::format("out of memory: {} bytes for master, 0 held", bytes));
  }
  EXPECT_EQ(account.total(), 0);
  EXPECT_EQ(account.peak(), 0);
}

TEST(MemoryKind, NamesDiffer) {
  std::set<std::string> names;
  for (int kind = 0; kind < kMemoryKinds; ++kind) {
    names.insert(MemoryKindName(static_cast<MemoryKind>(kind)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(kMemoryKinds));
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace ds::device
