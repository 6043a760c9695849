#include "token/compose.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "base/utf8.h"

namespace ds::token {
namespace {

struct Pair {
  uint32_t code_point, first, second;
};
struct Single {
  uint32_t code_point, other;
};
struct Order {
  uint32_t first, last;
  int order;
};

#include "token/unicode_composition.inc"

// Hangul syllables are arithmetic: chapter 3.12 of the Unicode standard, and its names.
constexpr uint32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

// Below it no code point changes, and none is a mark.
constexpr uint32_t kFirstMark = 0x300;
constexpr unsigned char kMarkByte = 0xCC;  // how it and those beyond begin in UTF-8, at least

struct Tables {
  std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>> apart;
  std::unordered_map<uint64_t, uint32_t> together;

  static uint64_t Key(uint32_t first, uint32_t second) { return uint64_t{first} << 32 | second; }
  Tables() {
    for (const Pair& pair : kComposed) {
      apart[pair.code_point] = {pair.first, pair.second};
      together[Key(pair.first, pair.second)] = pair.code_point;
    }
    for (const Pair& pair : kApart) apart[pair.code_point] = {pair.first, pair.second};
    for (const Single& single : kSingles) apart[single.code_point] = {single.other, 0};
  }
};

const Tables& TheTables() {
  static const Tables tables;
  return tables;
}

// Canonical_Combining_Class; marks of one class keep their order.
int OrderOf(uint32_t c) {
  if (c < kFirstMark) return 0;
  const auto* const found =
      std::upper_bound(std::begin(kOrders), std::end(kOrders), c,
                       [](uint32_t value, const Order& order) { return value < order.first; });
  if (found == std::begin(kOrders) || c > std::prev(found)->last) return 0;
  return std::prev(found)->order;
}

struct Mark {
  uint32_t value;
  int order;
};

void Decompose(uint32_t c, std::vector<Mark>& out) {
  if (c - kSBase < kSCount) {
    const uint32_t s = c - kSBase;
    out.push_back({kLBase + s / (kVCount * kTCount), 0});
    out.push_back({kVBase + s % (kVCount * kTCount) / kTCount, 0});
    if (s % kTCount != 0) out.push_back({kTBase + s % kTCount, 0});
    return;
  }
  const auto& apart = TheTables().apart;
  const auto found = apart.find(c);
  if (found == apart.end()) {
    out.push_back({c, OrderOf(c)});
    return;
  }
  Decompose(found->second.first, out);
  if (found->second.second != 0) Decompose(found->second.second, out);
}

// 0: the two do not go together.
uint32_t Compose(uint32_t first, uint32_t second) {
  if (first - kLBase < kLCount && second - kVBase < kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first - kSBase < kSCount && (first - kSBase) % kTCount == 0 && second - kTBase < kTCount &&
      second != kTBase) {
    return first + (second - kTBase);
  }
  const auto& together = TheTables().together;
  const auto found = together.find(Tables::Key(first, second));
  return found == together.end() ? 0 : found->second;
}

// A starter and all that can go together with it, composed in place.
void ComposeRun(std::vector<Mark>& run) {
  // Marks between starters in the order of their classes.
  for (auto begin = run.begin(); begin != run.end();) {
    if (begin->order == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, run.end(), [](const Mark& m) { return m.order == 0; });
    std::stable_sort(begin, end, [](const Mark& a, const Mark& b) { return a.order < b.order; });
    begin = end;
  }
  size_t kept = 0, starter = 0;
  bool has_starter = false;
  int last = -1;  // the order of what was kept last behind the starter; -1: nothing was
  for (const Mark mark : run) {
    if (has_starter && last < mark.order) {
      if (const uint32_t both = Compose(run[starter].value, mark.value); both != 0) {
        run[starter].value = both;
        continue;
      }
    }
    if (mark.order == 0) {
      starter = kept;
      has_starter = true;
      last = -1;
    } else {
      last = mark.order;
    }
    run[kept++] = mark;
  }
  run.resize(kept);
}

}  // namespace

std::string ComposeNfc(std::string_view text) {
  std::string out;
  if (std::none_of(text.begin(), text.end(),
                   [](char c) { return static_cast<unsigned char>(c) >= kMarkByte; })) {
    return out = text;
  }
  out.reserve(text.size());
  std::vector<Mark> run;
  const auto flush = [&] {
    ComposeRun(run);
    for (const Mark& mark : run) AppendUtf8(mark.value, out);
    run.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = ReadUtf8(text, at);
    const size_t next = at + c.bytes;
    const bool alone = next == text.size() || static_cast<unsigned char>(text[next]) < kMarkByte;
    if (c.value == kNotUtf8 || (c.value < kFirstMark && alone)) {
      flush();
      out += text.substr(at, c.bytes);
    } else if (c.value < kFirstMark) {
      // Nothing goes together with what stands before such a code point.
      flush();
      Decompose(c.value, run);
    } else {
      Decompose(c.value, run);
    }
    at = next;
  }
  flush();
  return out;
}

}  // namespace ds::token
