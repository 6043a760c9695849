// Every collective against its definition, for worlds of 1 to 4 ranks and sizes that divide badly,
// on threads and (as CTest runs it a second time, under mpirun) on processes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "device/memory.h"
#include "support/ranks.h"
#include "support/sanitizer.h"
#include "tensor/host_reduce.h"

namespace ds::comm {
namespace {

// Values of a rank, of the kind whose sum depends on the order and on where it is rounded.
template <typename T>
std::vector<T> Values(int rank, int64_t n, uint32_t salt = 0) {
  std::vector<T> values(n);
  uint32_t state = 12345 + rank * 977 + salt;
  for (T& value : values) {
    state = state * 1664525 + 1013904223;
    const float small = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    value = T(state % 5 == 0 ? small * 1e6f : small);
  }
  return values;
}

// scale * the sum over the ranks, in their order.
template <typename T>
std::vector<T> Sum(int world, int64_t n, float scale, uint32_t salt = 0) {
  std::vector<std::vector<T>> all;
  std::vector<const void*> parts;
  for (int r = 0; r < world; ++r) all.push_back(Values<T>(r, n, salt));
  for (const auto& values : all) parts.push_back(values.data());
  std::vector<T> sum(n);
  ReduceInOrder(DTypeOf<T>(), scale, parts, n, sum.data());
  return sum;
}

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void ForWorlds(FunctionRef<Status(Communicator&)> body) {
  for (const int world : test::Worlds({1, 2, 3, 4})) {
    const Status status = test::RunRanks(world, {.timeout_seconds = 30}, body);
    EXPECT_TRUE(status.ok()) << "world " << world << ": " << status.message();
  }
}

// The last ones are longer than what one round of processes takes.
constexpr int64_t kSizes[] = {0, 1, 2, 3, 31, 255, 256, 1000, 70001, 300007};

template <typename T>
class Sums : public testing::Test {};
using Types = testing::Types<float, BF16>;
TYPED_TEST_SUITE(Sums, Types);

TYPED_TEST(Sums, AllReduceGivesAllTheSameSum) {
  ForWorlds([](Communicator& comm) -> Status {
    for (const int64_t n : kSizes) {
      std::vector<TypeParam> data = Values<TypeParam>(comm.rank(), n);
      DS_TRY(comm.AllReduce("x", DTypeOf<TypeParam>(), 0.25f, data.data(), n));
      EXPECT_TRUE(SameBits(data, Sum<TypeParam>(comm.size(), n, 0.25f))) << n;
    }
    return {};
  });
}

TYPED_TEST(Sums, ReduceScatterGivesEachItsSlice) {
  ForWorlds([](Communicator& comm) -> Status {
    for (const int64_t shard : kSizes) {
      const int64_t n = shard * comm.size();
      const std::vector<TypeParam> sum = Sum<TypeParam>(comm.size(), n, 0.5f);
      for (const bool turned : {false, true}) {
        std::vector<int> slice_of;
        for (int r = 0; turned && r < comm.size(); ++r) {
          slice_of.push_back((r + 1) % comm.size());
        }
        const int slice = turned ? slice_of[comm.rank()] : comm.rank();
        std::vector<TypeParam> send = Values<TypeParam>(comm.rank(), n), recv(shard);
        DS_TRY(comm.ReduceScatter("x", DTypeOf<TypeParam>(), 0.5f, send.data(), recv.data(), shard,
                                  slice_of));
        const auto begin = sum.begin() + slice * shard;
        const std::vector<TypeParam> want(begin, begin + shard);
        EXPECT_TRUE(SameBits(recv, want)) << shard << turned;
        // In place.
        DS_TRY(comm.ReduceScatter("y", DTypeOf<TypeParam>(), 0.5f, send.data(),
                                  send.data() + slice * shard, shard, slice_of));
        const auto mine = send.begin() + slice * shard;
        EXPECT_TRUE(SameBits(std::vector<TypeParam>(mine, mine + shard), want)) << shard << turned;
      }
    }
    return {};
  });
}

template <typename T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}
template <typename T>
std::span<std::byte> Bytes(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

TEST(Collectives, SumsOfDoublesAreInRankOrder) {
  ForWorlds([](Communicator& comm) -> Status {
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{100003}}) {
      std::vector<double> sums(n), want(n, 0.0);
      const auto at = [](int r, int64_t i) { return (i % 3 == 0 ? 1e17 : 1.0) / (r + i + 1); };
      for (int64_t i = 0; i < n; ++i) {
        sums[i] = at(comm.rank(), i);
        for (int r = 0; r < comm.size(); ++r) want[i] += at(r, i);
      }
      DS_TRY(comm.AllReduce("x", sums));
      EXPECT_EQ(sums, want) << n;
    }
    return {};
  });
}

TEST(Collectives, ASumOfNegativeZerosIsOne) {
  ForWorlds([](Communicator& comm) -> Status {
    std::vector<double> sums(3, -0.0);
    DS_TRY(comm.AllReduce("x", sums));
    for (const double sum : sums) EXPECT_TRUE(sum == 0 && std::signbit(sum)) << sum;
    return {};
  });
}

TEST(Collectives, AllGatherAndBroadcast) {
  ForWorlds([](Communicator& comm) -> Status {
    for (const int64_t n : kSizes) {
      const std::vector<float> send = Values<float>(comm.rank(), n);
      std::vector<float> recv(n * comm.size()), want;
      for (int r = 0; r < comm.size(); ++r) {
        const auto theirs = Values<float>(r, n);
        want.insert(want.end(), theirs.begin(), theirs.end());
      }
      DS_TRY(comm.AllGather("x", Bytes(send), Bytes(recv)));
      EXPECT_TRUE(SameBits(recv, want)) << n;
      for (int root = 0; root < comm.size(); ++root) {
        std::vector<float> data = Values<float>(comm.rank(), n, 9);
        DS_TRY(comm.Broadcast("y", root, Bytes(data)));
        EXPECT_TRUE(SameBits(data, Values<float>(root, n, 9))) << n;
      }
    }
    return {};
  });
}

TEST(Collectives, AllToAllTurnsRowsIntoColumns) {
  ForWorlds([](Communicator& comm) -> Status {
    for (const int64_t n : kSizes) {
      std::vector<float> send, recv(n * comm.size()), want;
      for (int r = 0; r < comm.size(); ++r) {
        const auto to = Values<float>(comm.rank(), n, 100 * r),
                   from = Values<float>(r, n, 100 * comm.rank());
        send.insert(send.end(), to.begin(), to.end());
        want.insert(want.end(), from.begin(), from.end());
      }
      DS_TRY(comm.AllToAll("x", Bytes(send), Bytes(recv)));
      EXPECT_TRUE(SameBits(recv, want)) << n;
    }
    return {};
  });
}

TEST(Collectives, AllToAllVTakesBlocksOfAnySize) {
  ForWorlds([](Communicator& comm) -> Status {
    const auto count = [](int from, int to, int64_t n) {
      return from == to + 1 ? int64_t{0} : n * (from + 2 * to) % 90001;
    };
    for (const int64_t n : kSizes) {
      std::vector<float> send, want;
      std::vector<int64_t> send_bytes, recv_bytes;
      for (int r = 0; r < comm.size(); ++r) {
        const auto to = Values<float>(comm.rank(), count(comm.rank(), r, n), 100 * r);
        const auto from = Values<float>(r, count(r, comm.rank(), n), 100 * comm.rank());
        send.insert(send.end(), to.begin(), to.end());
        want.insert(want.end(), from.begin(), from.end());
        send_bytes.push_back(static_cast<int64_t>(to.size()) * 4);
        recv_bytes.push_back(static_cast<int64_t>(from.size()) * 4);
      }
      std::vector<float> recv(want.size());
      DS_TRY(comm.AllToAllV("x", Bytes(send), send_bytes, Bytes(recv), recv_bytes));
      EXPECT_TRUE(SameBits(recv, want)) << n;
    }
    return {};
  });
}

TEST(Collectives, MessagesGoRoundARing) {
  ForWorlds([](Communicator& comm) -> Status {
    if (comm.size() == 1) return {};
    const int next = (comm.rank() + 1) % comm.size();
    const int last = (comm.rank() + comm.size() - 1) % comm.size();
    for (const int64_t n : kSizes) {
      const std::vector<float> send = Values<float>(comm.rank(), n);
      std::vector<float> recv(n);
      const auto give = [&] { return comm.Send("x", next, Bytes(send)); };
      if (comm.rank() != 0) DS_TRY(comm.Recv("x", last, Bytes(recv)));
      DS_TRY(give());
      if (comm.rank() == 0) DS_TRY(comm.Recv("x", last, Bytes(recv)));
      EXPECT_TRUE(SameBits(recv, Values<float>(last, n))) << n;
    }
    return comm.Barrier("end");
  });
}

TEST(Collectives, SubGroupsWorkOnTheirOwn) {
  ForWorlds([](Communicator& comm) -> Status {
    DS_ASSIGN(auto half, comm.Split("halves", comm.rank() % 2, -comm.rank()));
    const int members = (comm.size() + 1 - comm.rank() % 2) / 2;
    EXPECT_EQ(half->size(), members);
    EXPECT_EQ(half->rank(), members - 1 - comm.rank() / 2);
    std::vector<float> sum = {static_cast<float>(comm.rank())};
    for (int i = 0; i < 1 + comm.rank() % 2; ++i) {  // not as often in one as in the other
      sum[0] = static_cast<float>(comm.rank());
      DS_TRY(half->AllReduce("x", DType::kF32, 1.0f, sum.data(), 1));
    }
    float want = 0;
    for (int r = comm.rank() % 2; r < comm.size(); r += 2) want += static_cast<float>(r);
    EXPECT_EQ(sum[0], want);
    DS_ASSIGN(auto none, comm.Split("last only", comm.rank() == comm.size() - 1 ? 0 : -1, 0));
    EXPECT_EQ(none != nullptr, comm.rank() == comm.size() - 1);
    DS_ASSIGN(auto twin, comm.Duplicate("twin"));
    EXPECT_EQ(twin->rank(), comm.rank());
    return twin->Barrier("end");
  });
}

// Memory of the communicator's heap, or where `plain` of a caller's.
class Memory {
 public:
  Memory(Communicator& comm, bool plain) { account_.set_heap(plain ? nullptr : comm.heap()); }

  std::span<float> Make(std::span<const float> values) {
    auto made = device::Buffer::Create(account_, device::MemoryKind::kWindows,
                                       static_cast<int64_t>(values.size_bytes()));
    EXPECT_TRUE(made.ok()) << made.status().message();
    buffers_.push_back(std::move(made).Take());
    std::copy(values.begin(), values.end(), buffers_.back().as<float>().begin());
    return buffers_.back().as<float>();
  }

 private:
  device::MemoryAccount account_;
  std::vector<device::Buffer> buffers_;
};

bool SameBits(std::span<const float> a, const std::vector<float>& b) {
  return SameBits(std::vector<float>(a.begin(), a.end()), b);
}

Status SumInMemory(Communicator& comm, bool plain, int64_t n) {
  Memory memory(comm, plain);
  const std::vector<float> sum = Sum<float>(comm.size(), n * comm.size(), 0.5f);
  const auto send = memory.Make(Values<float>(comm.rank(), n * comm.size()));
  const auto begin = sum.begin() + comm.rank() * n;
  const std::vector<float> slice(begin, begin + n);
  const auto recv = memory.Make(std::vector<float>(n));
  DS_TRY(comm.ReduceScatter("x", DType::kF32, 0.5f, send.data(), recv.data(), n));
  EXPECT_TRUE(SameBits(recv, slice)) << n;
  DS_TRY(comm.AllReduce("x", DType::kF32, 0.5f, send.data(), n * comm.size()));
  EXPECT_TRUE(SameBits(send, sum)) << n;
  return {};
}

Status MoveInMemory(Communicator& comm, bool plain, int64_t n) {
  Memory memory(comm, plain);
  std::vector<float> all;
  for (int r = 0; r < comm.size(); ++r) {
    const auto theirs = Values<float>(r, n);
    all.insert(all.end(), theirs.begin(), theirs.end());
  }
  const auto mine = memory.Make(Values<float>(comm.rank(), n));
  const auto recv = memory.Make(std::vector<float>(n * comm.size()));
  DS_TRY(comm.AllGather("x", std::as_bytes(mine), std::as_writable_bytes(recv)));
  EXPECT_TRUE(SameBits(recv, all)) << n;
  // In place: what is sent is the rank's own slot.
  std::fill(recv.begin(), recv.end(), 0.0f);
  const auto slot = recv.subspan(comm.rank() * n, n);
  std::copy(mine.begin(), mine.end(), slot.begin());
  DS_TRY(comm.AllGather("y", std::as_bytes(slot), std::as_writable_bytes(recv)));
  EXPECT_TRUE(SameBits(recv, all)) << n;
  const auto turned = memory.Make(std::vector<float>(n * comm.size()));
  DS_TRY(comm.AllToAll("x", std::as_bytes(recv), std::as_writable_bytes(turned)));
  for (int r = 0; r < comm.size(); ++r) {
    EXPECT_TRUE(SameBits(turned.subspan(r * n, n), Values<float>(comm.rank(), n))) << n;
  }
  const int root = comm.size() - 1;
  DS_TRY(comm.Broadcast("x", root, std::as_writable_bytes(mine)));
  EXPECT_TRUE(SameBits(mine, Values<float>(root, n))) << n;
  return {};
}

// Also where one rank has other memory than its peers, in sub-groups, and in what was freed and
// taken again.
TEST(Collectives, MemoryThatPeersReadInPlaceGivesTheSameBits) {
  ForWorlds([](Communicator& comm) -> Status {
    DS_ASSIGN(auto turned, comm.Split("turned", 0, -comm.rank()));
    for (const int64_t n : {int64_t{3}, int64_t{20000}, int64_t{100003}, int64_t{300007}}) {
      if (test::kUnderTsan && n > 200000) continue;
      for (const int plain : {-1, 0}) {
        for (Communicator* group : {&comm, turned.get()}) {
          DS_TRY(SumInMemory(*group, group->rank() == plain, n));
          DS_TRY(MoveInMemory(*group, group->rank() == plain, n));
        }
      }
    }
    return {};
  });
}

// The ranks of this job are on one host, where they are not told to behave as if they were not.
TEST(Collectives, RanksOfOneHostHaveAHeap) {
  const char* shared = std::getenv("DS_MPI_SHARED");
  const bool far = shared != nullptr && std::strcmp(shared, "0") == 0;
  ForWorlds([&](Communicator& comm) -> Status {
    EXPECT_EQ(comm.heap() != nullptr, FindLaunch().has_value() && !far);
    return {};
  });
}

}  // namespace
}  // namespace ds::comm
