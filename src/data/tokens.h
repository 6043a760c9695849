// A run of token ids in memory that someone else owns, one, two or four bytes each: as they lie in
// files, so that a file of them is mapped and not read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace ds::data {

class TokenSpan {
 public:
  // Set in an id of four bytes that is to be read, and not to be learned to predict.
  static constexpr uint32_t kNoLoss = uint32_t{1} << 31;
  // ... in the first id of a conversation; a text that has any has it in its own first.
  static constexpr uint32_t kBegins = uint32_t{1} << 30;
  static bool IsLearned(uint32_t id) { return (id & kNoLoss) == 0; }
  static bool Begins(uint32_t id) { return (id & kBegins) != 0; }
  static uint32_t Id(uint32_t id) { return id & ~(kNoLoss | kBegins); }

  TokenSpan() = default;
  TokenSpan(std::span<const uint8_t> ids) : TokenSpan(ids.data(), ids.size(), 1) {}
  TokenSpan(std::span<const uint16_t> ids) : TokenSpan(ids.data(), ids.size(), 2) {}
  TokenSpan(std::span<const uint32_t> ids) : TokenSpan(ids.data(), ids.size(), 4) {}
  template <typename T>
  TokenSpan(const std::vector<T>& ids) : TokenSpan(std::span<const T>(ids)) {}
  // `ids` is aligned to the width, which is 1, 2 or 4.
  TokenSpan(const void* ids, size_t size, size_t width)
      : ids_(static_cast<const std::byte*>(ids)), size_(size), width_(width) {}

  size_t size() const { return size_; }
  size_t width() const { return width_; }
  std::span<const std::byte> bytes() const { return {ids_, size_ * width_}; }
  TokenSpan subspan(size_t first, size_t count) const {
    return {ids_ + first * width_, count, width_};
  }
  TokenSpan first(size_t count) const { return subspan(0, count); }
  TokenSpan subspan(size_t begin) const { return subspan(begin, size_ - begin); }

  // Calls f with a pointer to the ids in their type.
  template <typename F>
  auto Typed(F f) const {
    switch (width_) {
      case 1:
        return f(reinterpret_cast<const uint8_t*>(ids_));
      case 2:
        return f(reinterpret_cast<const uint16_t*>(ids_));
      default:
        return f(reinterpret_cast<const uint32_t*>(ids_));
    }
  }
  // The id, without its marks.
  uint32_t operator[](size_t i) const { return Id(Marked(i)); }
  bool BeginsAt(size_t i) const { return Begins(Marked(i)); }
  // How many are learned to predict.
  int64_t learned() const {
    if (width_ < sizeof(kNoLoss)) return static_cast<int64_t>(size_);  // no room for the mark
    return Typed([this](const auto* ids) { return std::count_if(ids, ids + size_, IsLearned); });
  }

 private:
  uint32_t Marked(size_t i) const {
    return Typed([i](const auto* ids) -> uint32_t { return ids[i]; });
  }

  const std::byte* ids_ = nullptr;
  size_t size_ = 0, width_ = 1;
};

// A text of several, each of which counts for its part.
struct WeightedText {
  TokenSpan text;
  double weight = 1;  // above 0; what counts is its part of the sum of all
};

}  // namespace ds::data
