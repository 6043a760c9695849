// The collectives of ds_comm.h on four ranks that are threads, with and without tickets, against
// sums that are added here.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "support/c_calls.h"

using ds::test::RankOf;
using ds::test::TakeMessage;

namespace {

constexpr int kRanks = 4;

// Runs `body` on every rank.
ds_status OnRanks(const std::function<void(ds_comm*, int rank)>& body, double timeout = 30,
                  int ranks = kRanks) {
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = timeout;
  options.threads = 1;
  return ds_comm_run_threads(
      ranks, &options,
      [](ds_comm* comm, void* data) -> ds_status {
        (*static_cast<const std::function<void(ds_comm*, int)>*>(data))(comm, RankOf(comm));
        return DS_OK;
      },
      const_cast<std::function<void(ds_comm*, int)>*>(&body));
}

// A small whole number: sums of them are the same in every dtype and order.
float ValueOf(int rank, size_t i) {
  return static_cast<float>((rank * 7 + static_cast<int>(i) * 3) % 11 - 5);
}

// Elements as the bits of a dtype, and back. F16 and BF16 hold such numbers exactly.
std::vector<unsigned char> Encode(ds_dtype dtype, const std::vector<float>& values) {
  size_t width = 0;
  EXPECT_EQ(ds_dtype_get_bytes(dtype, &width), DS_OK);
  std::vector<unsigned char> bytes(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    unsigned char* at = bytes.data() + i * width;
    if (dtype == DS_DTYPE_F32) {
      std::memcpy(at, &values[i], 4);
    } else if (dtype == DS_DTYPE_F64) {
      const double wide = values[i];
      std::memcpy(at, &wide, 8);
    } else {
      uint32_t word = 0;
      std::memcpy(&word, &values[i], 4);
      uint16_t half = static_cast<uint16_t>(word >> 16);
      if (dtype == DS_DTYPE_F16 && values[i] != 0) {
        half = static_cast<uint16_t>((word >> 16 & 0x8000) |
                                     (((word & 0x7FFFFFFF) - 0x38000000) >> 13));
      }
      std::memcpy(at, &half, 2);
    }
  }
  return bytes;
}

// Each collective either way: with a ticket, or without.
class CollectiveC : public testing::TestWithParam<bool> {
 protected:
  ds_status Finish(ds_comm* comm, ds_status begun) const {
    if (begun != DS_OK || !GetParam()) return begun;
    EXPECT_GT(ticket(), 0);
    return ds_comm_wait(comm, ticket());
  }
  ds_ticket* out() const { return GetParam() ? &ticket() : nullptr; }

 private:
  static ds_ticket& ticket() {
    static thread_local ds_ticket given = 0;
    return given;
  }
};

TEST_P(CollectiveC, ReductionsAreThePlainSums) {
  const auto body = [&](ds_comm* comm, int rank) {
    for (const ds_dtype dtype : {DS_DTYPE_F32, DS_DTYPE_BF16, DS_DTYPE_F16, DS_DTYPE_F64}) {
      for (const size_t count : {size_t{0}, size_t{1}, size_t{5}, size_t{1000}}) {
        std::vector<float> mine(kRanks * count), sums(kRanks * count);
        for (size_t i = 0; i < mine.size(); ++i) {
          mine[i] = ValueOf(rank, i);
          for (int r = 0; r < kRanks; ++r) sums[i] += 0.5f * ValueOf(r, i);
        }
        std::vector<unsigned char> data = Encode(dtype, mine);
        data.reserve(1);  // of a count of 0 there is a pointer too
        ASSERT_EQ(Finish(comm, ds_comm_all_reduce_typed(comm, dtype, 0.5, data.data(), mine.size(),
                                                        out())),
                  DS_OK)
            << ds_error_peek_message();
        EXPECT_EQ(data, Encode(dtype, sums)) << ds_dtype_string(dtype) << " x " << count;
        if (dtype == DS_DTYPE_F64) continue;
        data = Encode(dtype, mine);
        data.reserve(1);
        std::vector<unsigned char> part(std::max<size_t>(1, data.size() / kRanks));
        ASSERT_EQ(Finish(comm, ds_comm_reduce_scatter(comm, dtype, 0.5, data.data(), part.data(),
                                                      count, out())),
                  DS_OK)
            << ds_error_peek_message();
        part.resize(data.size() / kRanks);
        EXPECT_EQ(part, Encode(dtype, std::vector<float>(sums.begin() + rank * count,
                                                         sums.begin() + (rank + 1) * count)));
      }
    }
  };
  EXPECT_EQ(OnRanks(body), DS_OK) << ds_error_peek_message();
}

TEST_P(CollectiveC, WhatMovesElementsMovesThem) {
  const auto body = [&](ds_comm* comm, int rank) {
    const std::array<int64_t, 2> mine = {rank, rank * 10};
    std::array<int64_t, 2 * kRanks> all = {};
    ASSERT_EQ(
        Finish(comm, ds_comm_all_gather(comm, DS_DTYPE_I64, mine.data(), all.data(), 2, out())),
        DS_OK);
    for (int r = 0; r < kRanks; ++r) {
      EXPECT_EQ(all[2 * r], r);
      EXPECT_EQ(all[2 * r + 1], r * 10);
    }
    for (int32_t root = 0; root < kRanks; ++root) {
      std::array<int8_t, 3> word = {static_cast<int8_t>(rank), 1, 2};
      ASSERT_EQ(Finish(comm, ds_comm_broadcast(comm, DS_DTYPE_I8, root, word.data(), 3, out())),
                DS_OK);
      EXPECT_EQ(word[0], root);
    }
    std::array<int32_t, kRanks> send, recv;
    for (int r = 0; r < kRanks; ++r) send[r] = rank * 100 + r;
    ASSERT_EQ(
        Finish(comm, ds_comm_all_to_all(comm, DS_DTYPE_I32, send.data(), recv.data(), 1, out())),
        DS_OK);
    for (int r = 0; r < kRanks; ++r) EXPECT_EQ(recv[r], r * 100 + rank);
    // A ring; rank 0 receives first, for each of the others waits for its message to be taken.
    const int32_t next = (rank + 1) % kRanks, before = (rank + kRanks - 1) % kRanks;
    double token = -1;
    const double own = rank + 0.5;
    if (rank != 0) {
      ASSERT_EQ(Finish(comm, ds_comm_send(comm, DS_DTYPE_F64, next, &own, 1, out())), DS_OK);
    }
    ASSERT_EQ(Finish(comm, ds_comm_recv(comm, DS_DTYPE_F64, before, &token, 1, out())), DS_OK);
    if (rank == 0) {
      ASSERT_EQ(Finish(comm, ds_comm_send(comm, DS_DTYPE_F64, next, &own, 1, out())), DS_OK);
    }
    EXPECT_EQ(token, before + 0.5);
  };
  EXPECT_EQ(OnRanks(body), DS_OK) << ds_error_peek_message();
}

// Rank r sends r + 1 elements to those of a higher number and none to the others.
TEST_P(CollectiveC, BlocksOfAnyLengthGoWhereTheyShould) {
  const auto body = [&](ds_comm* comm, int rank) {
    std::array<size_t, kRanks> send_counts = {}, recv_counts = {};
    for (int r = 0; r < kRanks; ++r) {
      send_counts[r] = r > rank ? rank + 1 : 0;
      recv_counts[r] = rank > r ? r + 1 : 0;
    }
    const size_t sent = std::accumulate(send_counts.begin(), send_counts.end(), size_t{0});
    const size_t got = std::accumulate(recv_counts.begin(), recv_counts.end(), size_t{0});
    const std::vector<int32_t> send(sent, rank);
    std::vector<int32_t> recv(got, -1);
    // Of no elements a vector has no address: the last sends, the first receives nothing.
    EXPECT_EQ(rank == kRanks - 1, send.data() == nullptr);
    ASSERT_EQ(Finish(comm, ds_comm_all_to_all_v(comm, DS_DTYPE_I32, send.data(), send_counts.data(),
                                                recv.data(), recv_counts.data(), out())),
              DS_OK)
        << ds_error_peek_message();
    size_t at = 0;
    for (int r = 0; r < rank; ++r) {
      for (int i = 0; i <= r; ++i) EXPECT_EQ(recv[at++], r);
    }
    EXPECT_EQ(at, got);
  };
  EXPECT_EQ(OnRanks(body), DS_OK) << ds_error_peek_message();
}

INSTANTIATE_TEST_SUITE_P(Tickets, CollectiveC, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "With" : "Without");
});

// Many under way, waited for out of order and more than once, and calls without a ticket among
// them.
TEST(TicketC, RunInTheOrderOfTheirCalls) {
  const auto body = [](ds_comm* comm, int rank) {
    constexpr int kCalls = 200;
    float value = static_cast<float>(rank);
    std::vector<ds_ticket> tickets(kCalls);
    for (int i = 0; i < kCalls; ++i) {  // each takes the mean of what the one before left
      ASSERT_EQ(ds_comm_all_reduce_typed(comm, DS_DTYPE_F32, 1.0 / kRanks, &value, 1, &tickets[i]),
                DS_OK);
      EXPECT_EQ(tickets[i], i + 1);
    }
    std::array<float, kRanks> all = {};
    ASSERT_EQ(ds_comm_all_gather(comm, DS_DTYPE_F32, &value, all.data(), 1, nullptr), DS_OK)
        << "runs after what was begun before";
    for (const float each : all) EXPECT_EQ(each, 1.5f);
    for (const int i : {kCalls - 1, 0, 7, 7}) EXPECT_EQ(ds_comm_wait(comm, tickets[i]), DS_OK);
    int32_t done = -1;
    EXPECT_EQ(ds_comm_test(comm, tickets[3], &done), DS_OK);
    EXPECT_EQ(done, 1);
    done = -1;
    for (const ds_ticket wrong : {ds_ticket{0}, ds_ticket{-1}, ds_ticket{kCalls + 1}}) {
      EXPECT_EQ(ds_comm_wait(comm, wrong), DS_ERR_INVALID_ARGUMENT);
      EXPECT_EQ(TakeMessage(),
                "ticket is " + std::to_string(wrong) + ", 200 were given out, from 1");
      EXPECT_EQ(ds_comm_test(comm, wrong, &done), DS_ERR_INVALID_ARGUMENT);
      EXPECT_EQ(done, -1);
    }
  };
  EXPECT_EQ(OnRanks(body), DS_OK) << ds_error_peek_message();
}

TEST(TicketC, ReturnAtOnceAndAreDoneWhenThePeerComes) {
  std::atomic<bool> seen = false;
  const auto body = [&](ds_comm* comm, int rank) {
    int32_t value = rank;
    ds_ticket ticket = 0;
    if (rank == 1) {
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!seen && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    }
    ASSERT_EQ(ds_comm_broadcast(comm, DS_DTYPE_I32, 0, &value, 1, &ticket), DS_OK);
    if (rank == 0) {
      int32_t done = -1;
      EXPECT_EQ(ds_comm_test(comm, ticket, &done), DS_OK);
      EXPECT_EQ(done, 0) << "rank 1 has not come";
      seen = true;
    }
    ASSERT_EQ(ds_comm_wait(comm, ticket), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(value, 0);
  };
  EXPECT_EQ(OnRanks(body, 30, 2), DS_OK) << ds_error_peek_message();
}

TEST(TicketC, RunBesideAnEngineOfTheSameGroup) {
  const auto body = [](ds_comm* comm, int rank) {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.comm = comm;
    options.config_json = R"({"zero_optimization": {"stage": 2}})";
    std::vector<float> data(1 << 16, static_cast<float>(rank));
    ds_ticket before = 0, ticket = 0;
    ASSERT_EQ(ds_comm_all_reduce_typed(comm, DS_DTYPE_F32, 1, data.data(), data.size(), &before),
              DS_OK);
    ds_engine* engine = nullptr;
    ASSERT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
    const int64_t numel = 64;
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    desc.name = "w";
    desc.shape = &numel;
    desc.ndim = 1;
    ds_param* w = nullptr;
    ASSERT_EQ(ds_param_register(engine, &desc, &w), DS_OK);
    const std::vector<float> grad(numel, 1.0f);
    for (int step = 0; step < 20; ++step) {
      ASSERT_EQ(ds_comm_all_reduce_typed(comm, DS_DTYPE_F32, 1.0 / kRanks, data.data(), data.size(),
                                         &ticket),
                DS_OK);
      ASSERT_EQ(ds_param_add_grad(w, DS_DTYPE_F32, grad.data(), numel), DS_OK);
      ASSERT_EQ(ds_engine_step(engine, nullptr), DS_OK) << ds_error_peek_message();
    }
    ASSERT_EQ(ds_comm_wait(comm, ticket), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(data, std::vector<float>(data.size(), 6.0f));
    ds_engine_destroy(engine);
  };
  EXPECT_EQ(OnRanks(body), DS_OK) << ds_error_peek_message();
}

TEST(SplitC, GroupsAreNumberedByKeyAndKeepTheirOwnOrder) {
  const auto body = [](ds_comm* comm, int rank) {
    ds_comm* half = nullptr;
    ASSERT_EQ(ds_comm_split(comm, rank == 3 ? -1 : rank % 2, -rank, &half), DS_OK);
    if (rank == 3) {
      EXPECT_EQ(half, nullptr);
      return;
    }
    int32_t size = 0;
    ASSERT_EQ(ds_comm_get_size(half, &size), DS_OK);
    EXPECT_EQ(size, rank == 1 ? 1 : 2);
    EXPECT_EQ(RankOf(half), rank == 0 ? 1 : 0);
    int32_t value = rank;
    ds_ticket ticket = 0;
    ASSERT_EQ(ds_comm_broadcast(half, DS_DTYPE_I32, 0, &value, 1, &ticket), DS_OK);
    ASSERT_EQ(ds_comm_wait(half, ticket), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(value, rank == 0 ? 2 : rank);
    ds_comm_destroy(half);
  };
  EXPECT_EQ(OnRanks(body), DS_OK) << ds_error_peek_message();
}

}  // namespace
