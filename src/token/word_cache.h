// What one thread remembers of words and their tokens. Of fixed size: a word that hashes to the
// place of another takes it.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace ds::token {

class WordCache {
 public:
  // The tokens of the word, empty where it is not known; valid until the next Put.
  std::span<const int32_t> Find(std::string_view word) const {
    if (word.size() > kBytes || slots_.empty()) return {};
    const Slot& slot = slots_[SlotOf(word)];
    if (slot.bytes != word.size() || std::memcmp(slot.word, word.data(), word.size()) != 0) {
      return {};
    }
    return {slot.ids, slot.count};
  }

  void Put(std::string_view word, std::span<const int32_t> ids) {
    if (word.size() > kBytes || ids.empty() || ids.size() > kIds) return;
    if (slots_.empty()) slots_.resize(kSlots);  // who never meets a word needs none
    Slot& slot = slots_[SlotOf(word)];
    slot.bytes = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(ids.size());
    std::memcpy(slot.word, word.data(), word.size());
    std::memcpy(slot.ids, ids.data(), ids.size_bytes());
  }

 private:
  static constexpr size_t kSlots = size_t{1} << 14, kBytes = 30, kIds = 8;
  struct Slot {
    uint8_t bytes = 0, count = 0;
    char word[kBytes];
    int32_t ids[kIds];
  };

  static size_t SlotOf(std::string_view word) {
    uint64_t hash = word.size();
    size_t i = 0;
    for (; i + 8 <= word.size(); i += 8) {
      uint64_t part;
      std::memcpy(&part, word.data() + i, 8);
      hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 32;
    }
    uint64_t rest = 0;
    std::memcpy(&rest, word.data() + i, word.size() - i);
    hash = (hash ^ rest) * 0x9E3779B97F4A7C15u;
    return static_cast<size_t>((hash ^ hash >> 29) * 0xBF58476D1CE4E5B9u >> 32) % kSlots;
  }

  std::vector<Slot> slots_;
};

}  // namespace ds::token
