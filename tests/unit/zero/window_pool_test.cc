#include "zero/window_pool.h"

#include <gtest/gtest.h>

namespace ds::zero {
namespace {

using device::MemoryKind;

TEST(WindowPool, GivesTheSmallestThatFits) {
  device::MemoryAccount account;
  WindowPool pool(account);
  auto small = pool.Take(100), middle = pool.Take(200), large = pool.Take(300);
  ASSERT_TRUE(small.ok() && middle.ok() && large.ok());
  const std::byte* wanted = middle->data();
  pool.Give(std::move(*large));
  pool.Give(std::move(*small));
  pool.Give(std::move(*middle));
  auto again = pool.Take(150);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->data(), wanted);
  EXPECT_EQ(again->bytes(), 200);
  EXPECT_EQ(account.bytes(MemoryKind::kWindows), 600);
  EXPECT_EQ(account.peak(), 600);
}

TEST(WindowPool, AWindowThatIsTooSmallGivesWay) {
  device::MemoryAccount account;
  WindowPool pool(account);
  for (const int64_t bytes : {100, 200, 300, 400}) {
    auto window = pool.Take(bytes);
    ASSERT_TRUE(window.ok());
    pool.Give(std::move(*window));
  }
  EXPECT_EQ(account.bytes(MemoryKind::kWindows), 400);
}

TEST(WindowPool, TheSameUseAgainAllocatesNothing) {
  device::MemoryAccount account;
  WindowPool pool(account);
  int64_t warm = 0;
  for (int step = 0; step < 6; ++step) {
    std::vector<device::Buffer> held;
    for (const int64_t bytes : {64, 512, 64, 128, 1024, 256}) {
      auto window = pool.Take(bytes);
      ASSERT_TRUE(window.ok());
      held.push_back(std::move(*window));
      if (held.size() == 3) {
        pool.Give(std::move(held.front()));
        held.erase(held.begin());
      }
    }
    for (auto& window : held) pool.Give(std::move(window));
    if (step == 3) warm = account.bytes(MemoryKind::kWindows);
  }
  EXPECT_EQ(account.bytes(MemoryKind::kWindows), warm);
  EXPECT_LE(warm, 3 * 1024);
}

}  // namespace
}  // namespace ds::zero
