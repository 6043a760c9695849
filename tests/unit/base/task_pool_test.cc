#include "base/task_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <system_error>
#include <thread>
#include <vector>

namespace ds {
namespace {

TEST(TaskPool, EveryTileRunsOnceAndBeforeRunReturns) {
  for (const int threads : {1, 2, 4, 21}) {  // the last: more than the parts that a job is cut into
    TaskPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t tiles : {0, 1, 2, 3, 64, 1000}) {
      std::vector<int> runs(tiles, 0);  // plain: a tile that ran late or twice is a data race
      pool.Run(tiles, [&](int64_t tile, int) { ++runs[tile]; });
      for (const int n : runs) ASSERT_EQ(n, 1) << threads << " threads, " << tiles << " tiles";
    }
  }
}

TEST(TaskPool, NoTwoTilesOfAJobShareALaneAtOnce) {
  constexpr int kThreads = 4;
  TaskPool pool(kThreads);
  std::array<std::atomic<int>, kThreads> busy = {};
  std::atomic<int> clashes = 0, outside = 0;
  for (int round = 0; round < 50; ++round) {
    pool.Run(64, [&](int64_t, int lane) {
      if (lane < 0 || lane >= kThreads) {
        ++outside;
        return;
      }
      if (++busy[lane] != 1) ++clashes;
      for (int i = 0; i < 100; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
      --busy[lane];
    });
  }
  EXPECT_EQ(clashes, 0);
  EXPECT_EQ(outside, 0);
}

// So that the core that wrote some rows reads them in the next job. Each tile waits for the other,
// so neither thread can take both. A worker that looks for work just while a job is opened may take
// another's part: that is rare.
TEST(TaskPool, ALaneBeginsWithItsOwnPart) {
  TaskPool pool(2);
  constexpr int kJobs = 400;
  int own = 0;
  for (int job = 0; job < kJobs; ++job) {
    std::array<int, 2> lanes = {-1, -1};
    std::atomic<int> begun = 0;
    pool.Run(2, [&](int64_t tile, int lane) {
      lanes[tile] = lane;
      ++begun;
      while (begun < 2) std::this_thread::yield();
    });
    own += lanes == std::array<int, 2>{0, 1};
  }
  EXPECT_GT(own, kJobs * 3 / 4);
}

// Slots are used again at once, with bodies that have ended: a worker that still looked at the last
// job would call one of them, or count for the wrong job.
TEST(TaskPool, JobsOfManyCallersFollowEachOtherInTheSameSlots) {
  TaskPool pool(3);
  std::atomic<int> wrong = 0;
  const auto call = [&](int caller) {
    for (int job = 0; job < 1500; ++job) {
      const int64_t tiles = 2 + (job + caller) % 5;
      std::array<int, 8> runs = {};
      pool.Run(tiles, [&](int64_t tile, int) { ++runs[tile]; });
      for (int64_t t = 0; t < 8; ++t) wrong += runs[t] != (t < tiles ? 1 : 0);
    }
  };
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) callers.emplace_back(call, c);
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(TaskPool, MoreCallersThanSlotsRunAlone) {
  TaskPool pool(2);
  constexpr int kCallers = 80;
  std::atomic<int> inside = 0, tiles = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < kCallers; ++c) {
    callers.emplace_back([&] {
      pool.Run(4, [&](int64_t tile, int) {
        ++tiles;
        // The first tile of every job waits for that of every other: all jobs are there at once.
        if (tile != 0) return;
        ++inside;
        while (inside < kCallers) std::this_thread::yield();
      });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(tiles, 4 * kCallers);
}

TEST(TaskPool, WhatATileThrowsComesToItsCaller) {
  for (const int threads : {1, 2, 4}) {
    TaskPool pool(threads);
    for (int64_t bad = 0; bad < 40; bad += 3) {
      std::atomic<int> running = 0;
      const auto body = [&](int64_t tile, int) {
        ++running;
        std::this_thread::yield();
        --running;
        if (tile == bad || tile == 39) throw std::out_of_range(std::to_string(tile));
      };
      EXPECT_THROW(pool.Run(40, body), std::out_of_range) << threads << " threads, tile " << bad;
      EXPECT_EQ(running, 0) << "no tile outlives the call";
    }
    std::atomic<int64_t> sum = 0;
    pool.Run(40, [&](int64_t tile, int) { sum += tile; });
    EXPECT_EQ(sum, 780) << "the next job is none the worse";
  }
}

TEST(TaskPool, EndsWhateverItsWorkersWereDoing) {
  for (int round = 0; round < 100; ++round) {
    TaskPool pool(3);
    if (round % 3 == 1) std::this_thread::yield();
    if (round % 3 == 2) pool.Run(4, [](int64_t, int) {});
  }
}

TEST(TaskPool, AJobWakesWorkersThatSleep) {
  TaskPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // well past their spinning
    std::atomic<bool> helped = false;
    pool.Run(2, [&](int64_t, int lane) {
      if (lane != 0) helped = true;
      // The caller holds its tile until the worker has taken the other.
      while (lane == 0 && !helped) std::this_thread::yield();
    });
    EXPECT_TRUE(helped);
  }
}

// A pool that cannot have all its threads throws, and ends those that it has.
TEST(TaskPoolDeathTest, ThreadsThatCannotStartAreAnException) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer needs all the addresses there are";
#endif
  const auto build = [] {
    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    const rlim_t bytes = pages * 4096 + (rlim_t{64} << 20);  // room for a few stacks
    const rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
    try {
      const TaskPool pool(200);
    } catch (const std::system_error&) {
      std::_Exit(7);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(build(), testing::ExitedWithCode(7), "");
}

TEST(TaskPool, SizeLeavesTheCallersTheirCores) {
  EXPECT_EQ(TaskPool::SizeFor(8, 1), 8);
  EXPECT_EQ(TaskPool::SizeFor(8, 3), 6);
  EXPECT_EQ(TaskPool::SizeFor(4, 4), 1);
  EXPECT_EQ(TaskPool::SizeFor(2, 16), 1);
}

}  // namespace
}  // namespace ds
