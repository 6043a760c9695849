// Byte-pair encoding: symbols merged two by two, the merge of the lowest rank first, the leftmost
// of several. Knows ids alone, not what they stand for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ds::token {

struct Merge {
  int32_t left, right;  // what is merged
  int32_t into;         // what it becomes
  int32_t rank;         // the lowest goes first
};

class Bpe {
 public:
  // Of two merges of the same pair the later one counts.
  explicit Bpe(std::span<const Merge> merges);

  // Merges in place until no merge applies. In the time of n log n for n symbols.
  void Apply(std::vector<int32_t>& symbols) const;

 private:
  struct Entry {
    uint64_t pair;  // kFree: none
    int32_t rank, into;
  };
  static constexpr uint64_t kFree = ~uint64_t{0};
  static constexpr int32_t kNoRank = INT32_MAX;

  static uint64_t PairOf(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t SlotOf(uint64_t pair) const { return pair * 0x9E3779B97F4A7C15u >> shift_; }
  // The merge of the two; its rank is kNoRank where there is none.
  Entry Find(int32_t left, int32_t right) const;

  void ApplyShort(std::vector<int32_t>& symbols) const;
  void ApplyLong(std::vector<int32_t>& symbols) const;

  std::vector<Entry> table_;  // open addressing, at most half full
  int shift_ = 63;
};

}  // namespace ds::token
