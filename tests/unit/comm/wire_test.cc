// Ranks that have messages only, over messages that are late, few or cannot be started.
#include <gtest/gtest.h>

#include "support/fake_mpi.h"

namespace ds::comm {
namespace {

using test::FakeJob;

void ExpectOk(const std::vector<Status>& ends) {
  for (const Status& end : ends) EXPECT_TRUE(end.ok()) << end.message();
}

TEST(Wire, AMessageThatCannotBeStartedNamesThePeer) {
  FakeJob job;
  job.unreachable = 0;
  const auto ends = test::RunFakeJob(2, [&](int rank) {
    std::vector<int> all;
    return test::OpenFakeWire(job, rank, 0.3)->ExchangeEach("host", rank, all);
  });
  EXPECT_EQ(ends[0].code(), Code::kTimeout) << ends[0].message();
  EXPECT_EQ(ends[1].code(), Code::kComm) << ends[1].message();
  EXPECT_EQ(ends[1].message(), "rank 1: MPI cannot send 4 bytes to rank 0");
  EXPECT_EQ(job.unhealthy, 2);  // the end of the program waits for nobody
}

TEST(Wire, AGroupWhoseMessageCannotBeStartedSaysSo) {
  FakeJob job;
  const auto ends = test::RunFakeJob(2, [&](int rank) -> Status {
    const auto comm = test::CreateFakeGroup(job, rank, 0.3);
    DS_TRY(comm->Barrier("first"));
    if (rank == 1) return comm->Barrier("second");
    job.unreachable = 1;
    return comm->Barrier("second");
  });
  EXPECT_EQ(ends[0].code(), Code::kComm) << ends[0].message();
  EXPECT_NE(ends[0].message().find("to rank 1"), std::string::npos) << ends[0].message();
  EXPECT_FALSE(ends[1].ok());
  EXPECT_GE(job.unhealthy, 1);
}

// That the one is in a message reaches the other when it is in the next meeting already.
TEST(Wire, ANoteThatComesBehindItsMessageStopsNoMeeting) {
  for (const size_t bytes : {0, 8}) {
    FakeJob job;
    job.notes_take = std::chrono::milliseconds(20);
    ExpectOk(test::RunFakeJob(2, [&](int rank) -> Status {
      const auto comm = test::CreateFakeGroup(job, rank, 2);
      std::vector<std::byte> data(bytes);
      for (int i = 0; i < 3; ++i) {
        DS_TRY(rank == 0 ? comm->Send("x", 1, data) : comm->Recv("x", 0, data));
        DS_TRY(comm->Barrier("y"));
      }
      return {};
    }));
  }
}

// Used at once, each by a thread of its own: a message of one that reached another would stop both.
TEST(Wire, GroupsOfFewTagsShareNoMessages) {
  FakeJob job;
  job.tags = 8 + 4 * 16;
  ExpectOk(test::RunFakeJob(2, [&](int rank) -> Status {
    const auto comm = test::CreateFakeGroup(job, rank, 5);
    std::vector<std::unique_ptr<Communicator>> groups;
    for (int i = 0; i < 14; ++i) {  // each is the first of every other one
      DS_ASSIGN(auto group, comm->Split("some", 0, i % 2 == 0 ? rank : -rank));
      groups.push_back(std::move(group));
    }
    std::vector<Status> ends(groups.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < groups.size(); ++i) {
      threads.emplace_back([&, i] {
        for (int round = 0; round < 5 && ends[i].ok(); ++round) {
          std::vector<double> sums = {static_cast<double>(i)};
          ends[i] = groups[i]->AllReduce("x", sums);
          EXPECT_EQ(sums[0], 2.0 * static_cast<double>(i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Status& end : ends) DS_TRY(end);
    return comm->Barrier("end");
  }));
}

TEST(Wire, AGroupThatMpiHasNoTagsForIsRefusedOnAllItsRanks) {
  FakeJob job;
  job.tags = 8 + 4 * 4;
  const auto ends = test::RunFakeJob(2, [&](int rank) -> Status {
    const auto comm = test::CreateFakeGroup(job, rank, 5);
    DS_ASSIGN(const auto first, comm->Duplicate("first"));
    const Status refused = comm->Duplicate("second").status();
    DS_TRY(comm->Barrier("still"));
    return refused;
  });
  for (const Status& end : ends) {
    EXPECT_EQ(end.code(), Code::kComm);
    EXPECT_EQ(end.message(),
              "duplicate(second): it would be group 4, and MPI has tags for 4 groups");
  }
}

TEST(Wire, TheRanksOfThisHostAreCounted) {
  FakeJob job;
  job.size = 3;
  ExpectOk(test::RunFakeJob(3, [&](int rank) -> Status {
    const auto comm = test::CreateFakeGroup(job, rank, 5, 2);
    EXPECT_EQ(comm->local_size(), 2);
    DS_ASSIGN(const auto pair, comm->Split("pair", rank == 1 ? -1 : 0, 0));
    EXPECT_EQ(pair == nullptr ? 1 : pair->local_size(), 1);
    return comm->Barrier("end");
  }));
  auto threads = CreateThreads(3, {});
  ASSERT_TRUE(threads.ok());
  EXPECT_EQ((*threads)[0]->local_size(), 3);
}

}  // namespace
}  // namespace ds::comm
