// How `numel` elements are cut over `world` ranks: equal shards, zero padded at the end. Shards are
// a multiple of kShardAlignment elements, so that every slice starts on a cache line.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ds {

inline constexpr int64_t kShardAlignment = 32;

struct ShardLayout {
  int64_t numel = 0;
  int world = 1;

  constexpr int64_t shard() const {
    const int64_t each = (numel + world - 1) / world;
    return (each + kShardAlignment - 1) / kShardAlignment * kShardAlignment;
  }
  constexpr int64_t padded() const { return shard() * world; }
  constexpr int64_t begin(int rank) const { return shard() * rank; }
  // Elements of a rank's shard that are not padding.
  constexpr int64_t used(int rank) const {
    return std::clamp<int64_t>(numel - begin(rank), 0, shard());
  }
};

static_assert(ShardLayout{100, 4}.shard() == 32 && ShardLayout{100, 4}.padded() == 128);
static_assert(ShardLayout{100, 4}.used(3) == 4 && ShardLayout{10, 4}.used(3) == 0);
static_assert(ShardLayout{0, 4}.padded() == 0);

}  // namespace ds
