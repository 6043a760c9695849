#include "data/windows.h"

#include <algorithm>

namespace ds::data {
namespace {

// Numbers of `n` among `all`, evenly, the first and the last among them.
std::vector<int64_t> Spread(int64_t n, int64_t all) {
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < n; ++i) numbers.push_back(n == 1 ? 0 : i * (all - 1) / (n - 1));
  return numbers;
}

}  // namespace

Windows::Windows(TokenSpan text, int64_t tokens)
    : text_(text), tokens_(tokens), packed_(text.size() > 0 && text.BeginsAt(0)) {
  if (packed_) Pack();
}

void Windows::Pack() {
  const auto size = static_cast<int64_t>(text_.size());
  Window window{0, 0};
  const auto close = [&](int64_t next) {
    if (Learned(window) > 0) packs_.push_back(window);
    window = {next, 0};
  };
  for (int64_t begin = 0; begin < size;) {
    int64_t end = begin + 1;
    while (end < size && !text_.BeginsAt(static_cast<size_t>(end))) ++end;
    if (end - begin > tokens_) ++cut_;
    if (window.tokens + end - begin > tokens_ && window.tokens > 0) close(begin);
    for (; end - begin > tokens_; begin += tokens_) {
      window.tokens = tokens_;
      close(begin + tokens_);
    }
    window.tokens += end - begin;
    begin = end;
  }
  close(size);
}

int64_t Windows::size() const {
  if (packed_) return std::ssize(packs_);
  const auto targets = std::max<int64_t>(0, static_cast<int64_t>(text_.size()) - 1);
  return (targets + tokens_ - 1) / tokens_;
}

Window Windows::operator[](int64_t i) const {
  if (packed_) return packs_[static_cast<size_t>(i)];
  const int64_t begin = i * tokens_;
  return {begin, std::min(tokens_, static_cast<int64_t>(text_.size()) - 1 - begin)};
}

int64_t Windows::places() const {
  return packed_ ? size() : std::max<int64_t>(0, static_cast<int64_t>(text_.size()) - tokens_);
}

Window Windows::at_place(int64_t i) const { return packed_ ? (*this)[i] : Window{i, tokens_}; }

std::vector<Window> Windows::Even(int64_t count) const {
  const int64_t most = packed_ ? size() : static_cast<int64_t>(text_.size()) / (tokens_ + 1);
  std::vector<Window> windows;
  for (const int64_t i : Spread(std::min(count, most), places())) windows.push_back(at_place(i));
  return windows;
}

void Windows::Fill(Window window, const WindowRow& row) const {
  const auto size = static_cast<int64_t>(text_.size());
  text_.Typed([&](const auto* all) {
    int32_t key = 0;
    for (int64_t i = 0; i < window.tokens; ++i) {
      const int64_t at = window.begin + i;
      if (TokenSpan::Begins(all[at])) key = static_cast<int32_t>(i);
      row.ids[i] = static_cast<int32_t>(TokenSpan::Id(all[at]));
      row.targets[i] = at + 1 < size && TokenSpan::IsLearned(all[at + 1])
                           ? static_cast<int32_t>(TokenSpan::Id(all[at + 1]))
                           : -1;
      row.first_keys[i] = key;
    }
  });
  for (int64_t i = window.tokens; i < tokens_; ++i) {
    row.ids[i] = 0;
    row.targets[i] = -1;
    row.first_keys[i] = static_cast<int32_t>(i);
  }
}

int64_t Windows::Learned(Window window) const {
  const auto size = static_cast<int64_t>(text_.size());
  const int64_t from = std::min(size, window.begin + 1);
  const int64_t to = std::min(size, window.begin + 1 + window.tokens);
  return text_.subspan(static_cast<size_t>(from), static_cast<size_t>(to - from)).learned();
}

}  // namespace ds::data
