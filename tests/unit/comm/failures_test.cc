// What ranks are told when they do different things, or one of them fails: on threads and on the
// processes of a job, in the same words.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <mutex>

#include "base/failpoint.h"
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

TEST(Failures, AnotherScaleIsNamed) {
  const auto scale = [](const Communicator& comm) { return comm.rank() == 0 ? 1.0f : 0.5f; };
  const auto floats = OnTwo(30, [&](Communicator& comm) {
    float data[2] = {};
    return comm.AllReduce("x", DType::kF32, scale(comm), data, 2);
  });
  ExpectAll(floats, Code::kRankMismatch, "in all_reduce(x): rank 0 has scale 1, rank 1 has 0.5");
  const auto doubles = OnTwo(30, [&](Communicator& comm) {
    double data[2] = {};
    return comm.AllReduce("x", data, scale(comm));
  });
  ExpectAll(doubles, Code::kRankMismatch, "in all_reduce(x): rank 0 has scale 1, rank 1 has 0.5");
  const auto parts = OnTwo(30, [&](Communicator& comm) {
    float data[2] = {}, mine = 0;
    return comm.ReduceScatter("x", DType::kF32, scale(comm), data, &mine, 1);
  });
  ExpectAll(parts, Code::kRankMismatch, "in reduce_scatter(x): rank 0 has scale 1, rank 1 has 0.5");
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

// Each collective fails on rank 1 before it meets anyone; the other hears of it in its own.
TEST(Failures, AFailpointOfEveryCollectiveEndsBothRanks) {
  const std::vector<float> rows(4, 1.0f);
  const std::vector<int64_t> halves = {8, 8};
  const auto send = std::as_bytes(std::span(rows));
  struct Case {
    const char* point;
    std::function<Status(Communicator&, std::span<std::byte>, float*)> call;
  };
  const Case cases[] = {
      {"all_gather",
       [&](auto& c, auto out, float*) { return c.AllGather("x", send.first(8), out); }},
      {"reduce_scatter",
       [&](auto& c, auto, float* out) {
         return c.ReduceScatter("x", DType::kF32, 1, rows.data(), out, 2);
       }},
      {"all_reduce",
       [&](auto& c, auto, float* out) { return c.AllReduce("x", DType::kF32, 1, out, 4); }},
      {"all_reduce",
       [&](auto& c, auto, float*) {
         std::vector<double> sums(2);
         return c.AllReduce("x", sums);
       }},
      {"barrier", [&](auto& c, auto, float*) { return c.Barrier("x"); }},
      {"broadcast", [&](auto& c, auto out, float*) { return c.Broadcast("x", 0, out); }},
      {"all_to_all", [&](auto& c, auto out, float*) { return c.AllToAll("x", send, out); }},
      {"all_to_all_v",
       [&](auto& c, auto out, float*) { return c.AllToAllV("x", send, halves, out, halves); }},
      {"send", [&](auto& c, auto out,
                   float*) { return c.rank() == 1 ? c.Send("x", 0, send) : c.Recv("x", 1, out); }},
      {"recv", [&](auto& c, auto out,
                   float*) { return c.rank() == 0 ? c.Send("x", 1, send) : c.Recv("x", 0, out); }},
      {"split", [&](auto& c, auto, float*) { return c.Split("x", 0, 0).status(); }},
      {"duplicate", [&](auto& c, auto, float*) { return c.Duplicate("x").status(); }},
  };
  for (const Case& c : cases) {
    ASSERT_TRUE(failpoint::Arm(fmt::format("comm.{}@1=1:fail:101", c.point)).ok());
    const auto heard = OnTwo(30, [&](Communicator& comm) {
      std::vector<float> out(4);
      return c.call(comm, std::as_writable_bytes(std::span(out)), out.data());
    });
    ASSERT_TRUE(failpoint::Arm("").ok());
    for (const Status& status : heard) {
      const bool own = status.code() == Code::kIo;
      EXPECT_TRUE(own || status.code() == Code::kRankLost) << c.point << ": " << status.message();
      const std::string named = fmt::format("failpoint 'comm.{}'", c.point);
      EXPECT_NE(status.message().find(own ? named : "rank 1 failed: " + named), std::string::npos)
          << status.message();
    }
    EXPECT_EQ(heard.size(), FindLaunch() ? heard.size() : 2U) << c.point;
  }
}

// Memory that cannot be shared is an error of every rank that was to share it.
TEST(Failures, MemoryThatCannotBeSharedIsAnErrorOnAllRanks) {
  const auto launch = FindLaunch();
  if (!launch) return;  // threads share what they have
  const char* shared = std::getenv("DS_MPI_SHARED");
  if (shared != nullptr && std::string(shared) == "0") return;
  for (const int rank : {0, 1}) {
    ASSERT_TRUE(failpoint::Arm(launch->rank == rank ? "comm.segment=1:fail:101" : "").ok());
    const Status refused = CreateMpi({.timeout_seconds = 30}, nullptr).status();
    ASSERT_TRUE(failpoint::Arm("").ok());
    EXPECT_NE(refused.message().find("failpoint 'comm.segment'"), std::string::npos)
        << refused.message();
  }
}

// Without a heap on one rank none reads in place, and nothing else changes.
TEST(Failures, AHeapThatOneRankLacksIsUsedByNone) {
  const auto launch = FindLaunch();
  if (!launch) return;
  for (const int rank : {0, 1}) {
    ASSERT_TRUE(failpoint::Arm(launch->rank == rank ? "device.shared_heap=1:fail:101" : "").ok());
    auto comm = CreateMpi({.timeout_seconds = 30}, nullptr);
    ASSERT_TRUE(failpoint::Arm("").ok());
    ASSERT_TRUE(comm.ok()) << comm.status().message();
    EXPECT_EQ((*comm)->heap(), nullptr);
    std::vector<float> data(100000, 1.0f);
    EXPECT_TRUE((*comm)->AllReduce("x", DType::kF32, 0.5f, data.data(), 100000).ok());
    EXPECT_EQ(data[99999], 0.5f * static_cast<float>((*comm)->size()));
  }
}

}  // namespace
}  // namespace ds::comm
