// Collectives that go wrong: what is refused at once, what a ticket tells, and what becomes of
// those that are under way.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "support/c_calls.h"

using ds::test::TakeMessage;

namespace {

using Clock = std::chrono::steady_clock;

// A group whose ranks the test drives itself, each on its thread or one after the other.
struct Pair {
  explicit Pair(double timeout) {
    ds_comm_options options = DS_COMM_OPTIONS_INIT;
    options.timeout_seconds = timeout;
    options.threads = 1;
    EXPECT_EQ(ds_comm_create_threads(2, &options, rank), DS_OK) << ds_error_peek_message();
  }
  ~Pair() {
    ds_comm_destroy(rank[0]);
    ds_comm_destroy(rank[1]);
  }
  ds_comm* rank[2] = {};
};

bool Holds(const std::string& text, const char* word) {
  return text.find(word) != std::string::npos;
}

TEST(CommFaultC, WrongArgumentsAreRefusedAtOnceAndLoseNothing) {
  Pair pair(20);
  ds_comm* comm = pair.rank[0];
  float data[8] = {};
  ds_ticket ticket = -7;
  const auto refused = [&](ds_status got, ds_status want, const std::string& message) {
    EXPECT_EQ(got, want);
    EXPECT_EQ(TakeMessage(), message);
    EXPECT_EQ(ticket, -7);
  };
  const auto none = static_cast<ds_dtype>(77);
  refused(ds_comm_all_reduce_typed(comm, DS_DTYPE_I32, 1, data, 4, &ticket), DS_ERR_UNSUPPORTED,
          "all_reduce of i32: f32, bf16 and f16 are supported");
  refused(ds_comm_reduce_scatter(comm, DS_DTYPE_F64, 1, data, data, 1, &ticket), DS_ERR_UNSUPPORTED,
          "reduce_scatter of f64: f32, bf16 and f16 are supported");
  refused(ds_comm_reduce_scatter(comm, none, 1, data, data, 1, &ticket), DS_ERR_INVALID_ARGUMENT,
          "dtype is 77, which is no dtype");
  refused(ds_comm_all_gather(comm, none, data, data, 1, &ticket), DS_ERR_INVALID_ARGUMENT,
          "dtype is 77, which is no dtype");
  refused(ds_comm_all_gather(comm, DS_DTYPE_F32, data, data, SIZE_MAX / 4, &ticket),
          DS_ERR_INVALID_ARGUMENT, "count is 4611686018427387903, more than fit the address space");
  double sums[1] = {};
  refused(ds_comm_all_reduce(comm, sums, SIZE_MAX), DS_ERR_INVALID_ARGUMENT,
          "count is 18446744073709551615, more than fit the address space");
  refused(ds_comm_broadcast(comm, DS_DTYPE_F32, 2, data, 1, &ticket), DS_ERR_INVALID_ARGUMENT,
          "broadcast(caller): the root is rank 2, of 2 ranks");
  refused(ds_comm_all_to_all(comm, DS_DTYPE_F32, data, data + 3, 2, &ticket),
          DS_ERR_INVALID_ARGUMENT, "all_to_all: send, 16 bytes, and recv, 16 bytes, overlap");
  // This rank's part of the larger array, or apart.
  refused(ds_comm_reduce_scatter(comm, DS_DTYPE_F32, 1, data, data + 1, 2, &ticket),
          DS_ERR_INVALID_ARGUMENT, "reduce_scatter: send, 16 bytes, and recv, 8 bytes, overlap");
  refused(ds_comm_all_gather(comm, DS_DTYPE_F32, data + 2, data, 2, &ticket),
          DS_ERR_INVALID_ARGUMENT, "all_gather: send, 8 bytes, and recv, 16 bytes, overlap");
  refused(ds_comm_all_gather(comm, DS_DTYPE_F32, nullptr, data, 1, &ticket),
          DS_ERR_INVALID_ARGUMENT, "send is NULL");
  const size_t counts[2] = {1, 2};
  refused(ds_comm_all_to_all_v(comm, DS_DTYPE_F32, nullptr, counts, data, counts, &ticket),
          DS_ERR_INVALID_ARGUMENT, "all_to_all_v: send of 12 bytes at NULL");
  refused(ds_comm_send(comm, DS_DTYPE_F32, 0, data, 1, &ticket), DS_ERR_INVALID_ARGUMENT,
          "send(caller): rank 0 is its own peer");
  refused(ds_comm_recv(comm, DS_DTYPE_F32, -1, data, 1, &ticket), DS_ERR_INVALID_ARGUMENT,
          "recv(caller): the peer is rank -1, of 2 ranks");
  // Of no elements there is no array.
  ASSERT_EQ(ds_comm_all_gather(comm, DS_DTYPE_F32, nullptr, nullptr, 0, &ticket), DS_OK);
  EXPECT_EQ(ds_comm_all_gather(pair.rank[1], DS_DTYPE_F32, nullptr, nullptr, 0, nullptr), DS_OK);
  EXPECT_EQ(ds_comm_wait(comm, ticket), DS_OK);
  ASSERT_EQ(ds_comm_broadcast(pair.rank[0], DS_DTYPE_F32, 0, data, 1, &ticket), DS_OK);
  EXPECT_EQ(ds_comm_broadcast(pair.rank[1], DS_DTYPE_F32, 0, data + 1, 1, nullptr), DS_OK)
      << ds_error_peek_message();
  EXPECT_EQ(ds_comm_wait(comm, ticket), DS_OK);
}

TEST(CommFaultC, AWrongCountIsToldWithBothToBoth) {
  Pair pair(20);
  std::vector<float> data[2] = {std::vector<float>(16), std::vector<float>(16)};
  ds_ticket tickets[2][2] = {};
  for (int r = 0; r < 2; ++r) {
    ASSERT_EQ(
        ds_comm_all_reduce_typed(pair.rank[r], DS_DTYPE_F32, 1, data[r].data(), 4, &tickets[r][0]),
        DS_OK);
    ASSERT_EQ(ds_comm_all_reduce_typed(pair.rank[r], DS_DTYPE_F32, 1, data[r].data(), 3 + r,
                                       &tickets[r][1]),
              DS_OK);
  }
  for (int r = 0; r < 2; ++r) {
    EXPECT_EQ(ds_comm_wait(pair.rank[r], tickets[r][0]), DS_OK) << "was done before";
    for (int again = 0; again < 2; ++again) {
      EXPECT_EQ(ds_comm_wait(pair.rank[r], tickets[r][1]), DS_ERR_RANK_MISMATCH);
      const std::string message = TakeMessage();
      EXPECT_TRUE(Holds(message, "with 12 bytes") && Holds(message, "with 16")) << message;
    }
    int32_t done = -1;
    EXPECT_EQ(ds_comm_test(pair.rank[r], tickets[r][1], &done), DS_ERR_RANK_MISMATCH);
    EXPECT_EQ(done, -1);
    EXPECT_NE(ds_comm_barrier(pair.rank[r]), DS_OK) << "the group is lost";
  }
}

TEST(CommFaultC, ATicketTellsOfATimeOutAndThoseBehindItToo) {
  Pair pair(0.05);
  float data = 0;
  ds_ticket tickets[2] = {};
  for (ds_ticket& ticket : tickets) {
    ASSERT_EQ(ds_comm_broadcast(pair.rank[0], DS_DTYPE_F32, 0, &data, 1, &ticket), DS_OK);
  }
  EXPECT_EQ(ds_comm_wait(pair.rank[0], tickets[0]), DS_ERR_TIMEOUT);
  EXPECT_TRUE(Holds(TakeMessage(), "waits for rank 1"));
  EXPECT_EQ(ds_comm_wait(pair.rank[0], tickets[1]), DS_ERR_TIMEOUT);
  ds_error_destroy(ds_error_take());
}

TEST(CommFaultC, AnAbortEndsWhatIsUnderWay) {
  Pair pair(60);
  float data = 0;
  ds_ticket ticket = 0;
  const auto start = Clock::now();
  ASSERT_EQ(ds_comm_broadcast(pair.rank[0], DS_DTYPE_F32, 0, &data, 1, &ticket), DS_OK);
  ASSERT_EQ(ds_comm_abort(pair.rank[1], "enough"), DS_OK);
  EXPECT_EQ(ds_comm_wait(pair.rank[0], ticket), DS_ERR_RANK_LOST);
  EXPECT_TRUE(Holds(TakeMessage(), "enough"));
  // One's own too, and destroying it afterwards waits for nobody.
  Pair other(60);
  ASSERT_EQ(ds_comm_broadcast(other.rank[0], DS_DTYPE_F32, 0, &data, 1, &ticket), DS_OK);
  ASSERT_EQ(ds_comm_abort(other.rank[0], "enough"), DS_OK);
  EXPECT_NE(ds_comm_wait(other.rank[0], ticket), DS_OK);
  ds_error_destroy(ds_error_take());
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(20));
}

// Destroyed with a ticket nobody waited for: what it began is finished, and the peer gets it.
TEST(CommFaultC, DestroyFinishesWhatIsUnderWay) {
  for (int round = 0; round < 20; ++round) {
    Pair pair(20);
    float data[2] = {1, 2};
    ds_ticket tickets[2] = {};
    for (int r = 0; r < 2; ++r) {
      ASSERT_EQ(ds_comm_broadcast(pair.rank[r], DS_DTYPE_F32, 0, &data[r], 1, &tickets[r]), DS_OK);
    }
    ds_comm_destroy(pair.rank[0]);
    pair.rank[0] = nullptr;
    EXPECT_EQ(ds_comm_wait(pair.rank[1], tickets[1]), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(data[1], 1.0f);
  }
}

// A rank function that fails over something it began: not the time-out, but its error, and at once.
TEST(CommFaultC, ARankThatFailsWithATicketUnderWayIsNotWaitedFor) {
  static float data[2];
  const auto fail = [](ds_comm* comm, void*) -> ds_status {
    int32_t rank = -1;
    EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
    if (rank == 0) {
      ds_ticket ticket = 0;
      EXPECT_EQ(ds_comm_recv(comm, DS_DTYPE_F32, 1, data, 1, &ticket), DS_OK);
      ds_error_set(DS_ERR_IO, "no such file");
      return DS_ERR_IO;
    }
    const ds_status status = ds_comm_barrier(comm);
    EXPECT_EQ(status, DS_ERR_RANK_LOST) << ds_error_peek_message();
    return status;
  };
  const auto start = Clock::now();
  EXPECT_EQ(ds_comm_run_threads(2, nullptr, fail, nullptr), DS_ERR_IO);
  EXPECT_EQ(TakeMessage(), "rank 0: no such file");
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
