#include "data/windows.h"

#include <gtest/gtest.h>

#include <map>
#include <string_view>

namespace ds::data {
namespace {

// A capital begins a conversation, what is learned is marked with a digit behind it: "Aab1c1".
std::vector<uint32_t> Talk(std::string_view letters) {
  std::vector<uint32_t> ids;
  for (const char c : letters) {
    if (c >= '0' && c <= '9') {
      ids.back() &= ~TokenSpan::kNoLoss;
    } else {
      const bool begins = c >= 'A' && c <= 'Z';
      ids.push_back(static_cast<uint32_t>(c) | TokenSpan::kNoLoss |
                    (begins ? TokenSpan::kBegins : 0));
    }
  }
  return ids;
}

std::vector<uint8_t> Text(size_t n) {
  std::vector<uint8_t> text(n);
  for (size_t i = 0; i < n; ++i) text[i] = static_cast<uint8_t>(i + 1);
  return text;
}

struct Row {
  std::vector<int32_t> ids, targets, first_keys;
};

Row RowOf(const Windows& windows, Window window) {
  const std::vector<int32_t> noise(static_cast<size_t>(windows.tokens()), -9);
  Row row = {noise, noise, noise};
  windows.Fill(window, {row.ids.data(), row.targets.data(), row.first_keys.data()});
  return row;
}

std::vector<Window> All(const Windows& windows) {
  std::vector<Window> all;
  for (int64_t i = 0; i < windows.size(); ++i) all.push_back(windows[i]);
  return all;
}

using Numbers = std::vector<int32_t>;

TEST(Windows, OfAPlainTextLieOneBehindTheOther) {
  const auto text = Text(10);
  const Windows windows(text, 4);
  EXPECT_FALSE(windows.packed());
  EXPECT_EQ(All(windows), (std::vector<Window>{{0, 4}, {4, 4}, {8, 1}}));
  const Row row = RowOf(windows, {8, 1});
  EXPECT_EQ(row.ids, (Numbers{9, 0, 0, 0}));
  EXPECT_EQ(row.targets, (Numbers{10, -1, -1, -1}));
  EXPECT_EQ(row.first_keys, (Numbers{0, 1, 2, 3}));
  EXPECT_EQ(RowOf(windows, {4, 4}).targets, (Numbers{6, 7, 8, 9}));
  EXPECT_EQ(Windows(Text(9), 4).size(), 2);
  EXPECT_EQ(Windows(Text(1), 4).size(), 0);
  EXPECT_EQ(Windows(TokenSpan(), 4).size(), 0);
}

TEST(Windows, OfAPlainTextAreDrawnFromAnywhere) {
  const auto text = Text(10);
  const Windows windows(text, 4);
  EXPECT_EQ(windows.places(), 6);
  EXPECT_EQ(windows.at_place(5), (Window{5, 4}));
  EXPECT_EQ(RowOf(windows, {5, 4}).targets, (Numbers{7, 8, 9, 10}));
  EXPECT_EQ(Windows(Text(4), 4).places(), 0);
  EXPECT_EQ(Windows(Text(3), 4).places(), 0);
}

TEST(Windows, HoldWholeConversations) {
  const auto talk = Talk("Ab1Cd1e1Fg1h1i1");  // of 2, 3 and 4 tokens
  const Windows windows(talk, 6);
  EXPECT_TRUE(windows.packed());
  EXPECT_EQ(windows.cut(), 0);
  EXPECT_EQ(All(windows), (std::vector<Window>{{0, 5}, {5, 4}}));
  const Row row = RowOf(windows, windows[0]);
  EXPECT_EQ(row.ids, (Numbers{'A', 'b', 'C', 'd', 'e', 0}));
  EXPECT_EQ(row.targets, (Numbers{'b', -1, 'd', 'e', -1, -1}));
  EXPECT_EQ(row.first_keys, (Numbers{0, 0, 2, 2, 2, 5}));
  EXPECT_EQ(RowOf(windows, windows[1]).targets, (Numbers{'g', 'h', 'i', -1, -1, -1}));
  EXPECT_EQ(All(Windows(talk, 9)), (std::vector<Window>{{0, 9}}));
  EXPECT_EQ(windows.places(), 2);
  EXPECT_EQ(windows.at_place(1), windows[1]);
}

TEST(Windows, CutAConversationThatIsLonger) {
  const auto talk = Talk("Ab1Cd1e1f1g1Hi1");  // of 2, 5 and 2 tokens
  const Windows windows(talk, 3);
  EXPECT_EQ(windows.cut(), 1);
  EXPECT_EQ(All(windows), (std::vector<Window>{{0, 2}, {2, 3}, {5, 2}, {7, 2}}));
  const Row first = RowOf(windows, {2, 3}), second = RowOf(windows, {5, 2});
  EXPECT_EQ(first.targets, (Numbers{'d', 'e', 'f'}));  // the last is the next window's first
  EXPECT_EQ(second.ids, (Numbers{'f', 'g', 0}));
  EXPECT_EQ(second.targets, (Numbers{'g', -1, -1}));
  EXPECT_EQ(second.first_keys, (Numbers{0, 0, 2}));
  // Behind its end others may follow.
  EXPECT_EQ(All(Windows(talk, 4)), (std::vector<Window>{{0, 2}, {2, 4}, {6, 3}}));
}

TEST(Windows, HaveSomethingToLearn) {
  const auto talk = Talk("Abcdef1Ghijklmn1");
  const Windows windows(talk, 2);
  EXPECT_EQ(All(windows), (std::vector<Window>{{4, 2}, {12, 2}}));
  for (const Window window : All(windows)) EXPECT_EQ(windows.Learned(window), 1);
}

// However they are cut, every token that is learned is a target once, and sees its conversation's
// tokens alone.
TEST(Windows, TeachEveryAnswerOnce) {
  std::string letters;
  for (int i = 0; i < 60; ++i) {
    letters += static_cast<char>('A' + i % 26);
    for (int k = 0; k < i * 7 % 11 + 1; ++k) {
      letters += static_cast<char>('a' + (i + k) % 26);
      if (k % 3 != 1) letters += '1';
    }
  }
  const auto talk = Talk(letters);
  for (int64_t tokens = 1; tokens < 30; ++tokens) {
    const Windows windows(talk, tokens);
    std::map<int64_t, int> taught;
    for (const Window window : All(windows)) {
      const Row row = RowOf(windows, window);
      int64_t learned = 0;
      for (int64_t i = 0; i < tokens; ++i) {
        const auto at = static_cast<size_t>(i);
        const int64_t key = row.first_keys[at];
        ASSERT_LE(key, i);
        if (i >= window.tokens) {
          ASSERT_EQ(row.targets[at], -1);
          continue;
        }
        const auto place = static_cast<size_t>(window.begin + i);
        for (size_t k = place; k > place - static_cast<size_t>(i - key); --k) {
          ASSERT_FALSE(TokenSpan(talk).BeginsAt(k));
        }
        if (key > 0) {
          ASSERT_TRUE(TokenSpan(talk).BeginsAt(place - static_cast<size_t>(i - key)));
        }
        if (row.targets[at] < 0) continue;
        ++learned;
        ++taught[window.begin + i + 1];
        EXPECT_EQ(row.targets[at], static_cast<int32_t>(TokenSpan(talk)[place + 1]));
      }
      EXPECT_EQ(windows.Learned(window), learned);
      EXPECT_GT(learned, 0);
    }
    EXPECT_EQ(std::ssize(taught), TokenSpan(talk).learned()) << tokens;
    for (const auto& [place, times] : taught) EXPECT_EQ(times, 1) << place;
  }
}

TEST(Windows, EvenOnesCoverAPlainTextWithoutOverlap) {
  const auto starts = [](size_t size, int64_t count) {
    const auto text = Text(size);
    std::vector<int64_t> starts;
    for (const Window window : Windows(text, 9).Even(count)) {
      EXPECT_EQ(window.tokens, 9);
      starts.push_back(window.begin);
    }
    return starts;
  };
  EXPECT_EQ(starts(100, 4), (std::vector<int64_t>{0, 30, 60, 90}));
  EXPECT_EQ(starts(100, 1), (std::vector<int64_t>{0}));
  EXPECT_EQ(starts(10, 8), (std::vector<int64_t>{0}));
  EXPECT_EQ(starts(9, 8), (std::vector<int64_t>{}));
  EXPECT_EQ(starts(29, 8), (std::vector<int64_t>{0, 19}));
}

TEST(Windows, EvenOnesOfConversationsAreSomeOfThem) {
  const auto talk = Talk("Ab1Cd1Ef1Gh1Ij1");
  const Windows windows(talk, 2);
  EXPECT_EQ(windows.Even(3), (std::vector<Window>{{0, 2}, {4, 2}, {8, 2}}));
  EXPECT_EQ(windows.Even(9), All(windows));
}

}  // namespace
}  // namespace ds::data
