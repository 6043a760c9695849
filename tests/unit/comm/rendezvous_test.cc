#include "comm/rendezvous.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>
#include <thread>
#include <vector>

namespace ds::comm {
namespace {

using std::chrono::milliseconds;

std::shared_ptr<Rendezvous> Make(int size, double seconds,
                                 std::shared_ptr<const Rendezvous> origin = nullptr) {
  return std::make_shared<Rendezvous>(size, std::chrono::duration<double>(seconds),
                                      std::move(origin));
}

bool Contains(const Status& status, const std::string& text) {
  return status.message().find(text) != std::string::npos;
}

TEST(Rendezvous, PostsAreReadBetweenMeetAndPart) {
  const auto place = Make(2, 30);
  int values[2] = {-1, -1};
  std::atomic<int> wrong = 0;
  const auto run = [&](int rank) {
    for (int round = 0; round < 500; ++round) {
      values[rank] = 2 * round + rank;
      Status status = place->Meet(rank, "swap", "x", sizeof(int), &values[rank]);
      wrong += !status.ok() ||
               *static_cast<const int*>(place->post(1 - rank).data) != 2 * round + 1 - rank;
      status = place->Part(rank);
      wrong += !status.ok();
    }
  };
  std::thread other(run, 1);
  run(0);
  other.join();
  EXPECT_EQ(wrong, 0);
}

// A rank that is told of a failure while a peer reads its memory must not go and free it.
TEST(Rendezvous, NobodyPartsFromABrokenGroupBeforeItsLastReader) {
  const auto place = Make(2, 30);
  std::atomic<bool> parted = false;
  std::thread other([&] {
    int mine = 7;
    EXPECT_TRUE(place->Meet(1, "swap", "x", sizeof mine, &mine).ok());
    EXPECT_EQ(place->Part(1).code(), Code::kCallback);
    parted = true;
  });
  ASSERT_TRUE(place->Meet(0, "swap", "x", sizeof(int), nullptr).ok());
  place->Abort(Error(Code::kCallback, "stop"));
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_FALSE(parted);
  EXPECT_EQ(*static_cast<const int*>(place->post(1).data), 7);
  EXPECT_EQ(place->Part(0).code(), Code::kCallback);
  other.join();
  EXPECT_TRUE(parted);
}

TEST(Rendezvous, ALateReaderEndsInATimeoutButIsWaitedFor) {
  const auto place = Make(2, 0.02);
  std::atomic<bool> parted = false;
  std::thread other([&] {
    int mine = 7;
    EXPECT_TRUE(place->Meet(1, "swap", "x", sizeof mine, &mine).ok());
    const Status late = place->Part(1);
    EXPECT_EQ(late.code(), Code::kTimeout) << late.message();
    EXPECT_TRUE(Contains(late, "rank 1 is in swap(x) and waits for rank 0")) << late.message();
    parted = true;
  });
  ASSERT_TRUE(place->Meet(0, "swap", "x", sizeof(int), nullptr).ok());
  std::this_thread::sleep_for(milliseconds(60));
  EXPECT_FALSE(parted);
  EXPECT_EQ(place->Part(0).code(), Code::kTimeout);
  other.join();
}

// Whoever wakes after the group broke still leaves a meeting that was over, as the others did.
TEST(Rendezvous, AMeetingThatWasOverIsOverForAll) {
  for (int round = 0; round < 100; ++round) {
    const auto place = Make(2, 30);
    std::thread other([&] {
      EXPECT_TRUE(place->Meet(1, "swap", "x", 4, &round).ok());
      EXPECT_EQ(place->Part(1).code(), Code::kRankMismatch);
    });
    ASSERT_TRUE(place->Meet(0, "swap", "x", 4, &round).ok());
    place->Abort(Error(Code::kRankMismatch, "elsewhere"));
    EXPECT_EQ(place->Part(0).code(), Code::kRankMismatch);
    other.join();
  }
}

TEST(Rendezvous, DifferentPostsAreRefusedOnBothSides) {
  struct Case {
    const char *op, *what;
    size_t bytes;
    const char* named;
  };
  for (const Case& c : {Case{"other", "x", 4, "rank 1 in other(x) with 4"},
                        Case{"swap", "y", 4, "rank 1 in swap(y) with 4"},
                        Case{"swap", "x", 8, "rank 1 in swap(x) with 8"}}) {
    const auto place = Make(2, 30);
    std::thread other([&] {
      const Status status = place->Meet(1, c.op, c.what, c.bytes, nullptr);
      EXPECT_EQ(status.code(), Code::kRankMismatch);
      EXPECT_TRUE(Contains(status, c.named)) << status.message();
    });
    const Status status = place->Meet(0, "swap", "x", 4, nullptr);
    EXPECT_EQ(status.code(), Code::kRankMismatch);
    EXPECT_TRUE(Contains(status, "rank 0 is in swap(x) with 4 bytes")) << status.message();
    EXPECT_TRUE(Contains(status, c.named)) << status.message();
    other.join();
  }
}

TEST(Rendezvous, ATimeoutNamesWhoIsMissingAndWhereItWas) {
  const auto place = Make(3, 0.03);
  std::thread second([&] { EXPECT_TRUE(place->Meet(1, "swap", "x", 0, nullptr).ok()); });
  std::thread third([&] { EXPECT_TRUE(place->Meet(2, "swap", "x", 0, nullptr).ok()); });
  EXPECT_TRUE(place->Meet(0, "swap", "x", 0, nullptr).ok());
  second.join();
  third.join();
  const Status status = place->Meet(1, "swap", "y", 0, nullptr);
  EXPECT_EQ(status.code(), Code::kTimeout);
  EXPECT_EQ(status.message(),
            "timed out after 0.03 s: rank 1 is in swap(y) and waits for "
            "rank 0 (last in swap(x)), rank 2 (last in swap(x))");
  // The group is dead and says why, with the operation of whoever asks.
  EXPECT_EQ(place->Meet(2, "sum", "z", 0, nullptr).message(),
            status.message() + " (seen by rank 2 in sum(z))");

  const Status never = Make(2, 0.01)->Meet(0, "swap", "x", 0, nullptr);
  EXPECT_EQ(never.message(),
            "timed out after 0.01 s: rank 0 is in swap(x) and waits for rank 1 (never seen)");
}

TEST(Rendezvous, AbortWakesWhoSleepsAndTheFirstReasonStays) {
  const auto place = Make(2, 30);
  std::thread waiter([&] {
    const Status status = place->Meet(0, "swap", "x", 0, nullptr);
    EXPECT_EQ(status.message(), "rank 1 failed: disk (seen by rank 0 in swap(x))");
  });
  std::this_thread::sleep_for(milliseconds(5));
  place->Abort(Error(Code::kRankLost, "rank 1 failed: disk"));
  place->Abort(Error(Code::kRankLost, "later"));
  waiter.join();
}

TEST(Rendezvous, ALeaverIsNamedAndADuplicateWaitsForItsReason) {
  const auto origin = Make(2, 30);
  const auto copy = Make(2, 30, origin);
  copy->Leave(1);  // its engine is gone; the rank is about to say why
  std::thread failing([&] {
    std::this_thread::sleep_for(milliseconds(5));
    copy->Abort(Error(Code::kRankLost, "rank 1 failed: disk"));
  });
  EXPECT_TRUE(Contains(copy->Meet(0, "swap", "x", 0, nullptr), "rank 1 failed: disk"));
  failing.join();

  const auto second = Make(2, 30, origin);
  second->Leave(1);
  origin->Leave(1);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Contains(second->Meet(0, "swap", "x", 0, nullptr), "rank 1 left the group"));
  EXPECT_TRUE(Contains(origin->Meet(0, "swap", "x", 0, nullptr), "rank 1 left the group"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(150));
}

TEST(Rendezvous, LongSubjectsAreCut) {
  const auto place = Make(1, 1);
  EXPECT_TRUE(place->Meet(0, "swap", std::string(500, 'x'), 0, nullptr).ok());
  EXPECT_EQ(std::string(place->post(0).what), std::string(79, 'x'));
}

// A rank says that it comes and then is counted; a kill may be between the two.
TEST(Rendezvous, ARankThatDiedWhileItCameIsNamed) {
  const pid_t child = fork();
  if (child == 0) pause();
  const ProcessId id = ProcessId::Of(child);
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  std::vector<std::byte> memory(Board::BytesFor(2) + 64);
  void* at = memory.data();
  size_t room = memory.size();
  Board* board = Board::Make(std::align(64, Board::BytesFor(2), at, room), 2);
  board->member(1).process = id.process;
  board->member(1).started = id.started;
  board->member(1).came = 1;
  Rendezvous place({board, [](Board*) {}}, std::chrono::duration<double>(30), nullptr, nullptr);
  const Status status = place.Meet(0, "swap", "x", 4, nullptr);
  EXPECT_EQ(status.code(), Code::kRankLost);
  EXPECT_TRUE(Contains(status, fmt::format("rank 1 died (process {})", child))) << status.message();
}

TEST(ProcessId, AProcessThatEndedIsDeadAlsoBeforeItsParentLooks) {
  EXPECT_TRUE(ProcessId::OfThis().IsAlive());
  const pid_t child = fork();
  if (child == 0) pause();
  const ProcessId id = ProcessId::Of(child);
  EXPECT_TRUE(id.IsAlive());
  EXPECT_FALSE((ProcessId{id.process, id.started - 1}).IsAlive());  // the number came again
  kill(child, SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, child, &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(id.IsAlive());
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(id.IsAlive());
}

// A rank that has no descriptor left must not take its peers for dead.
TEST(ProcessId, AProcessThatCannotBeLookedAtIsAlive) {
  const ProcessId id = ProcessId::OfThis();
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit none = {0, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool alive = id.IsAlive();
  const ProcessId unknown = ProcessId::OfThis();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_TRUE(alive);
  EXPECT_LT(unknown.started, 0);
  EXPECT_TRUE(unknown.IsAlive());
}

}  // namespace
}  // namespace ds::comm
