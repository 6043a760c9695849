#include "token/bpe.h"

#include <algorithm>
#include <array>
#include <queue>

namespace ds::token {
namespace {

// Up to so many symbols it is faster to look at all pairs for every merge than to keep a heap.
constexpr size_t kShort = 48;

}  // namespace

Bpe::Bpe(std::span<const Merge> merges) {
  size_t slots = 2;
  while (slots < 2 * merges.size()) {
    slots *= 2;
    --shift_;
  }
  table_.assign(slots, {kFree, kNoRank, -1});
  for (const Merge& merge : merges) {
    const uint64_t pair = PairOf(merge.left, merge.right);
    size_t slot = SlotOf(pair);
    while (table_[slot].pair != kFree && table_[slot].pair != pair) slot = (slot + 1) % slots;
    table_[slot] = {pair, merge.rank, merge.into};
  }
}

Bpe::Entry Bpe::Find(int32_t left, int32_t right) const {
  const uint64_t pair = PairOf(left, right);
  for (size_t slot = SlotOf(pair);; slot = (slot + 1) & (table_.size() - 1)) {
    const Entry& entry = table_[slot];
    if (entry.pair == pair) return entry;
    if (entry.pair == kFree) return {pair, kNoRank, -1};
  }
}

void Bpe::Apply(std::vector<int32_t>& symbols) const {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    ApplyShort(symbols);
  } else {
    ApplyLong(symbols);
  }
}

void Bpe::ApplyShort(std::vector<int32_t>& symbols) const {
  std::array<Entry, kShort> merges;  // of symbol i and the next one
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = Find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) break;
    symbols[best] = merges[best].into;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i] = merges[i + 1];
    }
    --n;
    if (best > 0) merges[best - 1] = Find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) merges[best] = Find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

void Bpe::ApplyLong(std::vector<int32_t>& symbols) const {
  struct Link {
    size_t before, after;
  };
  constexpr size_t kNone = SIZE_MAX;
  struct Candidate {
    int32_t rank;
    size_t at;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const size_t n = symbols.size();
  std::vector<Link> links(n);
  std::vector<Candidate> first;
  for (size_t i = 0; i < n; ++i) {
    links[i] = {i == 0 ? kNone : i - 1, i + 1 == n ? kNone : i + 1};
    if (i + 1 == n) continue;
    const int32_t rank = Find(symbols[i], symbols[i + 1]).rank;
    if (rank != kNoRank) first.push_back({rank, i});
  }
  std::priority_queue heap(std::greater<Candidate>(), std::move(first));
  const auto push = [&](size_t at) {
    const int32_t rank = Find(symbols[at], symbols[links[at].after]).rank;
    if (rank != kNoRank) heap.push({rank, at});
  };
  constexpr int32_t kGone = -1;
  while (!heap.empty()) {
    const auto [rank, at] = heap.top();
    heap.pop();
    const size_t after = links[at].after;
    if (symbols[at] == kGone || after == kNone) continue;
    const Entry merge = Find(symbols[at], symbols[after]);
    if (merge.rank != rank) continue;  // one of the two has been merged since
    symbols[at] = merge.into;
    symbols[after] = kGone;
    links[at].after = links[after].after;
    if (links[at].after != kNone) {
      links[links[at].after].before = at;
      push(at);
    }
    if (links[at].before != kNone) push(links[at].before);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kGone), symbols.end());
}

}  // namespace ds::token
