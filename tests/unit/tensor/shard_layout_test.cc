#include "tensor/shard_layout.h"

#include <gtest/gtest.h>

namespace ds {
namespace {

TEST(ShardLayout, TheUsedPartsCoverEveryElementOnce) {
  for (const int64_t numel : {0, 1, 31, 32, 33, 1000, 4096, 1009}) {
    for (int world = 1; world <= 9; ++world) {
      const ShardLayout layout{numel, world};
      EXPECT_EQ(layout.shard() % kShardAlignment, 0);
      EXPECT_GE(layout.padded(), numel);
      EXPECT_LT(layout.padded(), numel + world * kShardAlignment);
      int64_t next = 0;
      for (int rank = 0; rank < world; ++rank) {
        EXPECT_EQ(layout.begin(rank), rank * layout.shard());
        if (layout.used(rank) == 0) continue;
        EXPECT_EQ(layout.begin(rank), next);
        next += layout.used(rank);
      }
      EXPECT_EQ(next, numel) << "world " << world;
    }
  }
}

}  // namespace
}  // namespace ds
