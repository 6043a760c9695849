#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/communicator.h"

namespace ds::comm {
namespace {

TEST(Threads, AllGatherPutsEveryRankInItsSlot) {
  for (const int world : {1, 2, 3, 5}) {
    const Status status = RunThreads(world, {.timeout_seconds = 30}, [&](Communicator& comm) {
      std::vector<int> send = {comm.rank(), 10 * comm.rank()}, recv(2 * world, -1);
      Status got = comm.AllGather("x", std::as_bytes(std::span(send)),
                                  std::as_writable_bytes(std::span(recv)));
      for (int r = 0; r < world; ++r) {
        EXPECT_EQ(recv[2 * r], r);
        EXPECT_EQ(recv[2 * r + 1], 10 * r);
      }
      // In place: what is sent is the rank's own slot.
      std::vector<int> both(world, -1);
      both[comm.rank()] = comm.rank() + 5;
      if (got.ok()) {
        got = comm.AllGather("x", std::as_bytes(std::span(both).subspan(comm.rank(), 1)),
                             std::as_writable_bytes(std::span(both)));
      }
      for (int r = 0; r < world; ++r) EXPECT_EQ(both[r], r + 5);
      return got;
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST(Threads, ReductionsAddInRankOrder) {
  // In fp32 (1e8 + 1) - 1e8 is 0 and 1e8 - 1e8 + 1 is 1: only the order of ranks gives these bits.
  const float terms[] = {1e8f, 1.0f, -1e8f, 1.0f};
  const Status status = RunThreads(4, {.timeout_seconds = 30}, [&](Communicator& comm) -> Status {
    const int rank = comm.rank();
    std::vector<float> send(8);
    for (int i = 0; i < 8; ++i) send[i] = terms[rank] * static_cast<float>(i + 1);
    std::vector<float> want(2);
    for (int i = 0; i < 2; ++i) {
      const auto k = static_cast<float>(2 * rank + i + 1);
      want[i] = (((terms[0] * k + terms[1] * k) + terms[2] * k) + terms[3] * k) * 0.25f;
    }
    float* slot = send.data() + 2 * rank;  // in place
    DS_TRY(comm.ReduceScatter("x", DType::kF32, 0.25f, send.data(), slot, 2));
    EXPECT_EQ(slot[0], want[0]);
    EXPECT_EQ(slot[1], want[1]);

    const double tiny[] = {1e17, 1.0, -1e17, 1.0};
    std::vector<double> sum = {tiny[rank], 1.0};
    DS_TRY(comm.AllReduce("x", sum));
    EXPECT_EQ(sum[0], ((1e17 + 1.0) - 1e17) + 1.0);
    EXPECT_EQ(sum[1], 4.0);
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Threads, DuplicatesAreOrderedOnTheirOwn) {
  const Status status = RunThreads(3, {.timeout_seconds = 30}, [&](Communicator& comm) -> Status {
    DS_ASSIGN(auto first, comm.Duplicate("first"));
    DS_ASSIGN(auto second, comm.Duplicate("second"));
    // On two threads at once, while the original is used by a third.
    Status beside;
    std::thread thread([&] {
      for (int i = 0; i < 50 && beside.ok(); ++i) beside = second->Barrier("b");
    });
    Status here;
    for (int i = 0; i < 50 && here.ok(); ++i) {
      here = first->Barrier("a");
      if (here.ok()) here = comm.Barrier("c");
    }
    thread.join();
    DS_TRY(here);
    return beside;
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Threads, AnAbortReachesDuplicatesThatCameBeforeAndAfterIt) {
  auto ranks = CreateThreads(2, {.timeout_seconds = 30});
  ASSERT_TRUE(ranks.ok());
  Result<std::unique_ptr<Communicator>> twin(Status(Code::kInternal, ""));
  std::thread peer([&] { (void)(*ranks)[1]->Duplicate("twin"); });
  twin = (*ranks)[0]->Duplicate("twin");
  peer.join();
  ASSERT_TRUE(twin.ok());
  (*ranks)[1]->Abort(Error(Code::kIo, "disk"));
  EXPECT_EQ((*twin)->Barrier("x").message(), "rank 1 failed: disk (seen by rank 0 in barrier(x))");
  EXPECT_EQ((*ranks)[0]->Duplicate("more").status().code(), Code::kRankLost);
}

// The rank that failed is named, however fast its peers fail of it; an error may wait in its body
// after the group was told.
TEST(Threads, TheFirstFailureIsReportedNotOneThatFollowed) {
  for (int round = 0; round < 40; ++round) {
    const Status status = RunThreads(3, {.timeout_seconds = 30}, [&](Communicator& comm) {
      if (comm.rank() == 1) {
        const Status mine = Error(Code::kIo, "disk");
        if (round % 2 == 0) {
          comm.Abort(mine);
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return mine;
      }
      return comm.Barrier("x");
    });
    ASSERT_EQ(status.message(), "rank 1: disk");
    ASSERT_EQ(status.code(), Code::kIo);
  }
}

TEST(Threads, WhateverARankThrowsIsAnError) {
  const auto run = [](const std::function<void()>& fault) {
    return RunThreads(2, {.timeout_seconds = 30}, [&](Communicator& comm) {
      if (comm.rank() == 1) fault();
      const Status status = comm.Barrier("x");
      EXPECT_EQ(status.code(), Code::kRankLost) << status.message();
      return status;
    });
  };
  EXPECT_EQ(run([] { throw std::runtime_error("odd"); }).message(), "rank 1: odd");
  EXPECT_EQ(run([] { throw std::bad_alloc(); }).message(), "rank 1: out of memory");
  EXPECT_EQ(run([] { throw 5; }).message(), "rank 1: unknown exception");
}

TEST(Threads, ACommunicatorMayOutliveItsBody) {
  std::vector<std::shared_ptr<Communicator>> kept(2);
  const auto keep = [&](const std::shared_ptr<Communicator>& comm) {
    kept[comm->rank()] = comm;
    return comm->Barrier("x");
  };
  EXPECT_TRUE(RunThreadsShared(2, {.timeout_seconds = 30}, keep).ok());
  std::thread peer([&] { EXPECT_TRUE(kept[1]->Barrier("y").ok()); });
  EXPECT_TRUE(kept[0]->Barrier("y").ok());
  peer.join();
}

// Memory that a rank sends is its own again when its call returns, also when that call fails: the
// buffers below end at once, and a late reader would be seen by AddressSanitizer.
TEST(Threads, NobodyReadsABufferAfterItsCallFailed) {
  for (int round = 0; round < 20; ++round) {
    (void)RunThreads(3, {.timeout_seconds = 30}, [&](Communicator& comm) -> Status {
      DS_ASSIGN(auto twin, comm.Duplicate("twin"));
      std::atomic<bool> stop = false;
      std::thread breaker([&] {
        std::this_thread::sleep_for(std::chrono::microseconds(200 + 40 * round));
        if (comm.rank() == 2) comm.Abort(Error(Code::kIo, "disk"));
        stop = true;
      });
      Status status;
      while (status.ok()) {
        const std::vector<std::byte> send(1 << 16);
        std::vector<std::byte> recv(3 << 16);
        status = twin->AllGather("x", send, recv);
      }
      breaker.join();
      return status;
    });
  }
}

}  // namespace
}  // namespace ds::comm
