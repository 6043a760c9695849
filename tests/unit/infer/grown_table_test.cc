#include "infer/grown_table.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace ds::infer {
namespace {

// Any part of the table, asked for by several threads at once, is that part of the whole.
TEST(GrownTable, IsReadInParts) {
  constexpr int64_t kRows = 5, kWidth = 7, kGrown = 9;
  std::vector<float> file, want;
  for (int64_t i = 0; i < kRows * kWidth; ++i) file.push_back(static_cast<float>(i * i % 11));
  want = file;
  for (int64_t i = kRows * kWidth; i < kGrown * kWidth; ++i) {
    float sum = 0;  // of small whole numbers: exact
    for (int64_t r = 0; r < kRows; ++r) sum += file[static_cast<size_t>(r * kWidth + i % kWidth)];
    want.push_back(sum / static_cast<float>(kRows));
  }
  checkpoint::TensorView view;
  view.name = "table";
  view.dtype = "F32";
  view.shape = {kRows, kWidth};
  view.bytes = std::as_bytes(std::span(file));
  GrownTable table(view);
  const auto read = [&](int64_t begin) {
    for (int64_t end = begin; end <= kGrown * kWidth; ++end) {
      std::vector<float> out(static_cast<size_t>(end - begin));
      const Status status = table.Read(begin, out);
      ASSERT_TRUE(status.ok()) << status.message();
      const std::vector<float> part(want.begin() + begin, want.begin() + end);
      ASSERT_EQ(out, part) << begin << " to " << end;
    }
  };
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&read, thread] {
      for (int64_t begin = thread; begin <= kGrown * kWidth; begin += 4) read(begin);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace ds::infer
