// Collectives beside the compute: each of 4 ranks has 8 blocks of numbers, and while the sums of
// one block travel it works out the next.
//
//     c++ overlap.cc $(pkg-config --cflags --libs deepspeed) && ./a.out
#include <cstdio>
#include <deepspeed/deepspeed.hpp>
#include <vector>

namespace {

constexpr int kRanks = 4, kBlocks = 8, kNumbers = 1 << 16;

float NumberOf(int rank, int block, int i) {
  return static_cast<float>((rank + 1) * (block + 1) + i % 10);
}

void Rank(deepspeed::Comm& comm) {
  // Before the tickets, and so behind them when they end: until then the library uses the blocks.
  std::vector<std::vector<float>> blocks(kBlocks, std::vector<float>(kNumbers));
  std::vector<deepspeed::Ticket> tickets;
  for (int b = 0; b < kBlocks; ++b) {
    for (int i = 0; i < kNumbers; ++i) blocks[b][i] = NumberOf(comm.rank(), b, i);
    tickets.push_back(comm.BeginAllReduce(blocks[b].data(), kNumbers, 1.0 / kRanks));
  }
  int wrong = 0;
  for (int b = 0; b < kBlocks; ++b) {
    tickets[b].Wait();  // throws what went wrong: a rank that is late or lost, another count
    for (int i = 0; i < kNumbers; ++i) {
      const float mean = 2.5f * static_cast<float>(b + 1) + static_cast<float>(i % 10);
      wrong += blocks[b][i] != mean ? 1 : 0;
    }
  }
  deepspeed::Comm half = comm.Split(comm.rank() / 2);
  const double wrong_here = half.AllReduce(static_cast<double>(wrong));
  if (half.rank() == 0) {
    std::printf("ranks %d and %d: %.0f of %d means are wrong\n", comm.rank(), comm.rank() + 1,
                wrong_here, 2 * kBlocks * kNumbers);
  }
  if (wrong_here != 0) throw deepspeed::Error(DS_ERR_CORRUPT_DATA, "wrong means");
}

}  // namespace

int main() {
  try {
    deepspeed::RunThreads(kRanks, Rank);
    return 0;
  } catch (const deepspeed::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
