#include <gtest/gtest.h>

#include <vector>

#include "comm/communicator.h"

namespace ds::comm {
namespace {

TEST(Self, CollectivesOfOneRankAreCopies) {
  const auto self = CreateSelf();
  EXPECT_EQ(self->rank(), 0);
  EXPECT_EQ(self->size(), 1);
  EXPECT_STREQ(self->backend(), "self");

  const std::vector<float> send = {1, 2, 3};
  std::vector<float> recv(3);
  ASSERT_TRUE(
      self->AllGather("x", std::as_bytes(std::span(send)), std::as_writable_bytes(std::span(recv)))
          .ok());
  EXPECT_EQ(recv, send);
  ASSERT_TRUE(self->ReduceScatter("x", DType::kF32, 0.5f, send.data(), recv.data(), 3).ok());
  EXPECT_EQ(recv, (std::vector<float>{0.5f, 1.0f, 1.5f}));
  std::vector<double> sums = {4, 5};
  ASSERT_TRUE(self->AllReduce("x", sums).ok());
  EXPECT_EQ(sums, (std::vector<double>{4, 5}));
  EXPECT_TRUE(self->Barrier("x").ok());
  auto twin = self->Duplicate("x");
  ASSERT_TRUE(twin.ok());
  EXPECT_EQ((*twin)->size(), 1);
}

TEST(Self, SizesThatDifferAreRefused) {
  std::vector<std::byte> send(4), recv(8);
  EXPECT_EQ(CreateSelf()->AllGather("x", send, recv).message(),
            "all_gather(x): sends 4 bytes, receives 8");
}

}  // namespace
}  // namespace ds::comm
