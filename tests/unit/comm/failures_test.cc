// What ranks are told when they do different things, or one of them fails: on threads and on the
// processes of a job, in the same words.
#include <gtest/gtest.h>

#include <mutex>

#include "support/ranks.h"

namespace ds::comm {
namespace {

// Runs it on two ranks; the messages of those ranks of which this process hears.
std::vector<Status> OnTwo(double timeout, FunctionRef<Status(Communicator&)> body) {
  std::vector<Status> heard;
  if (test::Worlds({2}).empty()) return heard;
  std::mutex mutex;  // guards heard
  (void)test::RunRanks(2, {.timeout_seconds = timeout}, [&](Communicator& comm) {
    const Status status = body(comm);
    const std::lock_guard lock(mutex);
    heard.push_back(status);
    return status;
  });
  return heard;
}

void ExpectAll(const std::vector<Status>& heard, Code code, const std::string& part) {
  EXPECT_FALSE(heard.empty() && !FindLaunch());
  for (const Status& status : heard) {
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
}

TEST(Failures, TwoWhoSendToEachOtherTimeOut) {
  const auto heard = OnTwo(0.2, [](Communicator& comm) {
    const std::byte bytes[8] = {};
    return comm.Send("x", 1 - comm.rank(), bytes);
  });
  for (const Status& status : heard) {
    EXPECT_EQ(status.code(), Code::kTimeout) << status.message();
    EXPECT_NE(status.message().find("is in send(x) and waits for rank"), std::string::npos);
    EXPECT_NE(status.message().find("(last in send(x))"), std::string::npos) << status.message();
  }
}

TEST(Failures, MessagesOfOtherSizesAreRefusedOnBothSides) {
  const auto heard = OnTwo(30, [](Communicator& comm) {
    std::byte bytes[8] = {};
    return comm.rank() == 0 ? comm.Send("x", 1, bytes)
                            : comm.Recv("x", 0, std::span(bytes).first(4));
  });
  ExpectAll(heard, Code::kRankMismatch,
            "rank 0 is in send(x) with 8 bytes, rank 1 in recv(x) with 4");
}

TEST(Failures, BlocksThatDifferAreNamed) {
  const auto heard = OnTwo(30, [](Communicator& comm) {
    const std::vector<int64_t> send_bytes = {8, 8};
    const std::vector<int64_t> recv_bytes = {comm.rank() == 1 ? 4 : 8, 8};
    std::vector<std::byte> send(16), recv(recv_bytes[0] + 8);
    const Status status = comm.AllToAllV("x", send, send_bytes, recv, recv_bytes);
    return status.ok() ? comm.Barrier("after") : status;
  });
  ExpectAll(heard, Code::kRankMismatch, "rank 0 sends 8 bytes to rank 1, which receives 4");
}

TEST(Failures, AnotherRootOrTypeIsNamed) {
  const auto roots = OnTwo(30, [](Communicator& comm) {
    std::byte bytes[8] = {};
    return comm.Broadcast("x", comm.rank(), bytes);
  });
  ExpectAll(roots, Code::kRankMismatch, "in broadcast(x): rank 0 has root 0, rank 1 has 1");
  const auto types = OnTwo(30, [](Communicator& comm) {
    float data[2] = {};
    return comm.rank() == 0 ? comm.AllReduce("x", DType::kF32, 1, data, 1)
                            : comm.AllReduce("x", DType::kBF16, 1, data, 2);
  });
  ExpectAll(types, Code::kRankMismatch, "in all_reduce(x): rank 0 has dtype 1, rank 1 has 2");
}

TEST(Failures, AnAbortReachesParentAndSubGroups) {
  const auto heard = OnTwo(30, [](Communicator& comm) -> Status {
    DS_ASSIGN(auto alone, comm.Split("alone", comm.rank(), 0));
    DS_ASSIGN(auto both, comm.Split("both", 0, 0));
    if (comm.rank() == 1) {
      both->Abort(Error(Code::kIo, "disk"));
      return Error(Code::kRankLost, "rank 1 failed: disk");
    }
    const Status parent = comm.Barrier("x");
    EXPECT_EQ(parent.message(), "rank 1 failed: disk (seen by rank 0 in barrier(x))");
    EXPECT_EQ(both->Barrier("y").message(), "rank 1 failed: disk (seen by rank 0 in barrier(y))");
    return alone->Barrier("z");
  });
  ExpectAll(heard, Code::kRankLost, "rank 1 failed: disk");
}

TEST(Failures, WrongArgumentsAreRefusedBeforeAnyoneIsMet) {
  (void)OnTwo(30, [](Communicator& comm) -> Status {
    std::vector<std::byte> four(4), five(5);
    float data[4] = {};
    EXPECT_EQ(comm.Send("x", comm.rank(), four).message(),
              fmt::format("send(x): rank {0} is its own peer", comm.rank()));
    EXPECT_EQ(comm.Recv("x", 2, four).message(), "recv(x): the peer is rank 2, of 2 ranks");
    EXPECT_EQ(comm.Broadcast("x", -1, four).message(),
              "broadcast(x): the root is rank -1, of 2 ranks");
    EXPECT_EQ(comm.AllToAll("x", five, five).message(),
              "all_to_all(x): sends 5 bytes, receives 5, in 2 equal blocks");
    const int twice[] = {1, 1};
    EXPECT_EQ(comm.ReduceScatter("x", DType::kF32, 1, data, data, 2, twice).message(),
              "reduce_scatter(x): slice 1 is given to two ranks, of 2 slices");
    return comm.Barrier("end");
  });
}

// A message that nobody takes is no message of a rank that has gone.
TEST(Failures, AReceiverThatLeftIsNamed) {
  (void)OnTwo(30, [](Communicator& comm) -> Status {
    if (comm.rank() == 1) return {};
    const std::byte bytes[8] = {};
    const Status status = comm.Send("x", 1, bytes);
    EXPECT_EQ(status.message(), "rank 1 left the group (seen by rank 0 in send(x))");
    return status;
  });
}

}  // namespace
}  // namespace ds::comm
