#include "token/bpe.h"

#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"

namespace ds::token {
namespace {

// The definition: the merge of the lowest rank, the leftmost of several, until there is none.
std::vector<int32_t> Plain(const std::vector<Merge>& merges, std::vector<int32_t> symbols) {
  while (true) {
    const Merge* best = nullptr;
    size_t where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (const Merge& merge : merges) {
        if (merge.left == symbols[i] && merge.right == symbols[i + 1] &&
            (best == nullptr || merge.rank < best->rank)) {
          best = &merge;
          where = i;
        }
      }
    }
    if (best == nullptr) return symbols;
    symbols[where] = best->into;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(where) + 1);
  }
}

TEST(Bpe, IsTheDefinitionForShortAndLongWords) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::vector<Merge> merges;
    const auto letters = static_cast<int32_t>(2 + RandomBelow(seed, 1, 0, 3));
    std::set<std::pair<int32_t, int32_t>> pairs;
    for (int32_t i = 0; i < 12; ++i) {
      const auto known = static_cast<uint64_t>(letters + i);
      const auto left = static_cast<int32_t>(RandomBelow(seed, 2, static_cast<uint64_t>(i), known));
      const auto right =
          static_cast<int32_t>(RandomBelow(seed, 3, static_cast<uint64_t>(i), known));
      if (pairs.emplace(left, right).second) {
        merges.push_back({left, right, letters + i, static_cast<int32_t>(merges.size())});
      }
    }
    const Bpe bpe(merges);
    for (const size_t length : {0, 1, 2, 3, 10, 47, 48, 49, 50, 200}) {
      std::vector<int32_t> symbols(length);
      for (size_t i = 0; i < length; ++i) {
        symbols[i] =
            static_cast<int32_t>(RandomBelow(seed, 4 + length, i, static_cast<uint64_t>(letters)));
      }
      const auto want = Plain(merges, symbols);
      bpe.Apply(symbols);
      ASSERT_EQ(symbols, want) << seed << " " << length;
    }
  }
}

TEST(Bpe, TheLaterOfTwoMergesOfAPairCounts) {
  const Bpe bpe(std::vector<Merge>{{0, 1, 2, 0}, {0, 1, 3, 1}});
  std::vector<int32_t> symbols = {0, 1};
  bpe.Apply(symbols);
  EXPECT_EQ(symbols, std::vector<int32_t>{3});
}

TEST(Bpe, WithoutMergesNothingChanges) {
  const Bpe bpe(std::vector<Merge>{});
  std::vector<int32_t> symbols(100, 7);
  bpe.Apply(symbols);
  EXPECT_EQ(symbols, std::vector<int32_t>(100, 7));
}

// Quadratic, this would take hours.
TEST(Bpe, ALongWordOfOneLetter) {
  std::vector<Merge> merges;
  for (int32_t i = 0; i < 16; ++i) merges.push_back({i, i, i + 1, i});
  const Bpe bpe(merges);
  std::vector<int32_t> symbols(size_t{1} << 20, 0);
  bpe.Apply(symbols);
  EXPECT_EQ(symbols, std::vector<int32_t>(16, 16));
}

}  // namespace
}  // namespace ds::token
