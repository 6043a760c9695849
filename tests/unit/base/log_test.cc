#include "base/log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace ds {
namespace {

class LogTest : public testing::Test {
 protected:
  ~LogTest() override { SetLogSink(LogLevel::kWarning, {}); }
};

TEST_F(LogTest, TheSinkGetsWhatReachesItsLevel) {
  std::vector<std::string> lines;
  SetLogSink(LogLevel::kInfo,
             [&](LogLevel level, std::string_view component, std::string_view text) {
               lines.push_back(fmt::format("{} {} {}", static_cast<int>(level), component, text));
             });
  EXPECT_FALSE(LogEnabled(LogLevel::kDebug));
  EXPECT_TRUE(LogEnabled(LogLevel::kInfo));
  Log(LogLevel::kDebug, "test", "{} is dropped", 1);
  Log(LogLevel::kInfo, "test", "{} is kept", 2);
  Log(LogLevel::kError, "test", "{} is kept", 3);
  EXPECT_EQ(lines, (std::vector<std::string>{"2 test 2 is kept", "4 test 3 is kept"}));

  SetLogSink(LogLevel::kOff, {});
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
}

TEST_F(LogTest, WithoutASinkLinesGoToStderr) {
  SetLogSink(LogLevel::kWarning, {});
  testing::internal::CaptureStderr();
  Log(LogLevel::kWarning, "here", "{} ranks", 3);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "deepspeed: warning: here: 3 ranks\n");
}

TEST_F(LogTest, ASinkThatThrowsIsNotHeard) {
  SetLogSink(LogLevel::kError, [](LogLevel, std::string_view, std::string_view) { throw 7; });
  Log(LogLevel::kError, "test", "a line");
  SetLogSink(LogLevel::kOff, {});
}

TEST_F(LogTest, ASinkMayLogAndReplaceItselfAsItEnds) {
  std::string heard;
  {
    const std::shared_ptr<void> last(nullptr, [&](void*) {
      Log(LogLevel::kError, "test", "farewell");
      SetLogSink(LogLevel::kOff, {});
    });
    SetLogSink(LogLevel::kError, [last](LogLevel, std::string_view, std::string_view) {});
  }
  SetLogSink(LogLevel::kError,
             [&](LogLevel, std::string_view, std::string_view text) { heard = text; });
  EXPECT_EQ(heard, "farewell");
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
}

TEST_F(LogTest, ASinkIsReplacedWhileOthersLogAllTheTime) {
  std::atomic<bool> enough = false;
  std::atomic<int> old_calls = 0, new_calls = 0;
  SetLogSink(LogLevel::kInfo, [&](LogLevel, std::string_view, std::string_view) {
    ++old_calls;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  });
  std::vector<std::thread> loggers;
  for (int i = 0; i < 4; ++i) {
    loggers.emplace_back([&] {
      while (!enough) LogText(LogLevel::kInfo, "test", "line");
    });
  }
  while (old_calls < 8) std::this_thread::yield();
  // While the loggers go on: some call always runs, but none of the old sink's from here.
  SetLogSink(LogLevel::kInfo, [&](LogLevel, std::string_view, std::string_view) { ++new_calls; });
  const int before = old_calls;
  while (new_calls < 8) std::this_thread::yield();
  EXPECT_EQ(old_calls, before);
  enough = true;
  for (std::thread& logger : loggers) logger.join();
}

TEST_F(LogTest, AReplacedSinkIsNotCalledAnyMore) {
  const auto drop = [](LogLevel, std::string_view, std::string_view) {};
  SetLogSink(LogLevel::kError, drop);
  std::atomic<bool> stop = false;
  std::vector<std::thread> loggers;
  for (int i = 0; i < 2; ++i) {
    loggers.emplace_back([&] {
      while (!stop) Log(LogLevel::kError, "test", "a line");
    });
  }
  std::atomic<int> late = 0;
  for (int round = 0; round < 200; ++round) {
    auto alive = std::make_shared<std::atomic<bool>>(true);
    SetLogSink(LogLevel::kError, [alive, &late](LogLevel, std::string_view, std::string_view) {
      if (!*alive) ++late;
    });
    SetLogSink(LogLevel::kError, drop);
    *alive = false;
  }
  stop = true;
  for (std::thread& logger : loggers) logger.join();
  EXPECT_EQ(late, 0);
}

}  // namespace
}  // namespace ds
