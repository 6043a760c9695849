#include "device/stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>

namespace ds::device {
namespace {

struct Record {
  std::vector<int64_t> ran;
  std::atomic<bool> go = true;
  int64_t fails_at = -1;
};

Status Note(void* object, int64_t argument, void*) {
  auto& record = *static_cast<Record*>(object);
  while (!record.go) std::this_thread::yield();
  record.ran.push_back(argument);
  if (argument == record.fails_at) return Error(Code::kIo, "work {} failed", argument);
  return {};
}

class StreamTest : public testing::TestWithParam<bool> {};  // asynchronous

TEST_P(StreamTest, RunsWorkInTheOrderOfLaunches) {
  Record record;
  Stream stream(GetParam());
  Ticket last = 0;
  for (int64_t i = 0; i < 500; ++i) {
    const Ticket ticket = stream.Launch({Note, &record, i});
    EXPECT_EQ(ticket, last + 1);
    last = ticket;
    if (i % 50 == 0) {
      ASSERT_TRUE(stream.Wait(ticket).ok());
      EXPECT_TRUE(stream.Passed(ticket));
      ASSERT_EQ(record.ran.size(), static_cast<size_t>(i + 1));
    }
  }
  ASSERT_TRUE(stream.Wait(last).ok());
  ASSERT_EQ(record.ran.size(), 500u);
  for (int64_t i = 0; i < 500; ++i) EXPECT_EQ(record.ran[i], i);
}

TEST_P(StreamTest, AFailureStaysAndDropsWhatFollows) {
  Record record;
  record.fails_at = 2;
  Stream stream(GetParam());
  Ticket last = 0;
  for (int64_t i = 0; i < 10; ++i) last = stream.Launch({Note, &record, i});
  for (const Ticket ticket : {last, Ticket{5}, last}) {
    const Status status = stream.Wait(ticket);
    EXPECT_EQ(status.code(), Code::kIo);
    EXPECT_EQ(status.message(), "work 2 failed");
  }
  last = stream.Launch({Note, &record, 10});
  EXPECT_EQ(stream.Wait(last).message(), "work 2 failed");
  EXPECT_EQ(record.ran, (std::vector<int64_t>{0, 1, 2}));
}

TEST_P(StreamTest, WhatThrowsFails) {
  Stream stream(GetParam());
  const Ticket ticket =
      stream.Launch({[](void*, int64_t, void*) -> Status { throw std::bad_alloc(); }, nullptr, 0});
  EXPECT_EQ(stream.Wait(ticket).code(), Code::kOutOfMemory);
}

INSTANTIATE_TEST_SUITE_P(Asynchronous, StreamTest, testing::Bool());

TEST(Stream, HoldsMoreThanItsFirstRingWhileItIsBusy) {
  Record record;
  record.go = false;
  Stream stream(true);
  Ticket last = 0;
  for (int64_t i = 0; i < 1000; ++i) last = stream.Launch({Note, &record, i});
  EXPECT_FALSE(stream.Passed(1));
  record.go = true;
  ASSERT_TRUE(stream.Wait(last).ok());
  ASSERT_EQ(record.ran.size(), 1000u);
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(record.ran[i], i);
}

TEST(Stream, EndsAfterWhatWasLaunched) {
  for (int round = 0; round < 200; ++round) {
    Record record;
    {
      Stream stream(true);
      for (int64_t i = 0; i < round % 5; ++i) stream.Launch({Note, &record, i});
    }
    ASSERT_EQ(record.ran.size(), static_cast<size_t>(round % 5));
  }
}

TEST(Stream, WorkAfterAPauseWakesTheThread) {
  Record record;
  Stream stream(true);
  for (int64_t i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // past the spinning of its thread
    ASSERT_TRUE(stream.Wait(stream.Launch({Note, &record, i})).ok());
  }
  EXPECT_EQ(record.ran.size(), 10u);
}

}  // namespace
}  // namespace ds::device
