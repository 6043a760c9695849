// deepspeed.hpp: groups, their collectives and tickets as C++ objects.
#include <gtest/gtest.h>
#include <deepspeed/deepspeed.hpp>

#include <array>
#include <vector>

namespace deepspeed {
namespace {

void OnePlain(Comm& comm) { EXPECT_EQ(comm.size(), 2); }

TEST(CppComm, RanksRunAnyCallable) {
  RunThreads(2, OnePlain);
  const auto constant = [](Comm& comm) { OnePlain(comm); };
  RunThreads(2, constant);
}

TEST(CppComm, CollectivesComeInTwoForms) {
  RunThreads(4, [](Comm& comm) {
    const int rank = comm.rank();
    std::array<float, 8> data;
    data.fill(static_cast<float>(rank));
    Ticket sum = comm.BeginAllReduce(data.data(), 4);
    comm.AllReduce(data.data() + 4, 4, 0.25);
    EXPECT_TRUE(sum.Done()) << "one that waits runs after those before it";
    sum.Wait();
    EXPECT_EQ(data[0], 6.0f);
    EXPECT_EQ(data[4], 1.5f);
    std::array<int64_t, 4> all = {}, turned = {};
    const auto mine = static_cast<int64_t>(rank);
    comm.AllGather(&mine, all.data(), 1);
    EXPECT_EQ(all, (std::array<int64_t, 4>{0, 1, 2, 3}));
    Ticket turn = comm.BeginAllToAll(all.data(), turned.data(), 1);
    turn = comm.BeginBroadcast(&all[0], 1, 2);  // the first is waited for
    EXPECT_EQ(turned, (std::array<int64_t, 4>{rank, rank, rank, rank}));
    turn.Wait();
    std::array<float, 2> part = {};
    comm.BeginReduceScatter(data.data(), part.data(), 2).Wait();
    EXPECT_EQ(part[1], 4 * data[2 * rank + 1]);
    const std::vector<size_t> to_first = {2, 0, 0, 0};
    const auto got =
        comm.AllToAllV(std::vector<int32_t>(2, rank), to_first,
                       rank == 0 ? std::vector<size_t>(4, 2) : std::vector<size_t>(4, 0));
    EXPECT_EQ(got,
              rank == 0 ? (std::vector<int32_t>{0, 0, 1, 1, 2, 2, 3, 3}) : std::vector<int32_t>());
    EXPECT_THROW((void)comm.AllToAllV(std::vector<int32_t>(3), to_first, to_first), Error);
    uint8_t word = static_cast<uint8_t>(rank);
    Comm pair = comm.Split(rank / 2);
    if (pair.rank() == 0) {
      pair.BeginSend(&word, 1, 1).Wait();
    } else {
      pair.Recv(&word, 1, 0);
      EXPECT_EQ(word, rank - 1);
    }
    EXPECT_EQ(comm.Split(-1).get(), nullptr);
  });
}

TEST(CppComm, AnErrorIsThrownByTheWaitAndSwallowedByTheEnd) {
  EXPECT_THROW(RunThreads(2,
                          [](Comm& comm) {
                            std::array<float, 2> data = {};
                            const size_t count = comm.rank() == 0 ? 1 : 2;
                            const Ticket unheard = comm.BeginAllReduce(data.data(), count);
                            comm.BeginAllReduce(data.data(), 1).Wait();
                          }),
               Error);
}

}  // namespace
}  // namespace deepspeed
