#include "base/trace.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>

namespace ds {
namespace {

TEST(Trace, KeepsSpansInTheOrderOfTheirEnds) {
  Trace trace(8);
  {
    const Trace::Thread records(&trace, "main");
    EXPECT_EQ(Trace::Current(), &trace);
    const TraceSpan outer(TraceLane::kStep, "step", "1");
    const TraceSpan inner(TraceLane::kComm, "all_gather", "h.0", 64);
  }
  EXPECT_EQ(Trace::Current(), nullptr);
  const auto tracks = trace.Tracks();
  ASSERT_EQ(tracks.size(), 1u);
  EXPECT_STREQ(tracks[0].name, "main");
  EXPECT_EQ(tracks[0].dropped, 0u);
  ASSERT_EQ(tracks[0].events.size(), 2u);
  const TraceEvent &inner = tracks[0].events[0], &outer = tracks[0].events[1];
  EXPECT_STREQ(inner.what, "all_gather");
  EXPECT_STREQ(inner.subject, "h.0");
  EXPECT_EQ(inner.bytes, 64);
  EXPECT_EQ(inner.lane, TraceLane::kComm);
  EXPECT_STREQ(outer.subject, "1");
  EXPECT_LE(outer.begin_ns, inner.begin_ns);
  EXPECT_LE(inner.begin_ns, inner.end_ns);
  EXPECT_LE(inner.end_ns, outer.end_ns);
}

TEST(Trace, KeepsTheLastOnes) {
  Trace trace(4);
  const Trace::Thread records(&trace, "main");
  for (int i = 0; i < 11; ++i) {
    const TraceSpan span(TraceLane::kCompute, "work", std::to_string(i));
  }
  const auto tracks = trace.Tracks();
  EXPECT_EQ(tracks[0].dropped, 7u);
  ASSERT_EQ(tracks[0].events.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(tracks[0].events[i].subject, std::to_string(7 + i));
}

TEST(Trace, RecordsNothingWhereNobodyAsked) {
  Trace none(0);
  const Trace::Thread off(nullptr, "main");
  { const TraceSpan span(TraceLane::kStep, "step"); }
  const Trace::Thread no_room(&none, "main");
  { const TraceSpan span(TraceLane::kStep, "step"); }
  EXPECT_TRUE(none.Tracks().empty());
}

TEST(Trace, ThreadsHaveRingsOfTheirOwn) {
  Trace trace(4), other(4);
  const Trace::Thread records(&trace, "main");
  {
    const Trace::Thread nested(&other, "nested");  // and back at the end of the scope
    EXPECT_EQ(Trace::Current(), &other);
  }
  std::thread thread([outer = Trace::Current()] {
    const Trace::Thread inner(outer, "worker");
    const TraceSpan span(TraceLane::kComm, "send");
  });
  thread.join();
  { const TraceSpan span(TraceLane::kStep, "step"); }
  const auto tracks = trace.Tracks();
  ASSERT_EQ(tracks.size(), 2u);
  EXPECT_STREQ(tracks[1].name, "worker");
  EXPECT_EQ(tracks[0].events.size(), 1u);
  EXPECT_EQ(tracks[1].events.size(), 1u);
}

TEST(Trace, CutsLongSubjects) {
  Trace trace(1);
  const Trace::Thread records(&trace, "main");
  { const TraceSpan span(TraceLane::kStep, "step", std::string(100, 'x')); }
  EXPECT_EQ(trace.Tracks()[0].events[0].subject, std::string(30, 'x'));
}

}  // namespace
}  // namespace ds
