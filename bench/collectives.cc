// Collectives over two ranks that are threads, against one pass over the same memory: loops of the
// same two threads that move each byte once and meet nobody on the way. And how long a short one
// takes, where nothing but the meeting counts.
#include <cstring>

#include "comm/communicator.h"
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

constexpr int kRanks = 2;
constexpr int64_t kElements = int64_t{16} << 20;  // 64 MiB of fp32 over all ranks' parts
constexpr int64_t kHalf = kElements / kRanks;
constexpr size_t kHalfBytes = kHalf * sizeof(float);
constexpr double kGoal = 1 / 1.15;

struct Memory {
  float* whole[kRanks];  // kElements each
  float* other[kRanks];
};

// Rank 0's clock, from a meeting before to one after.
template <typename Ours, typename Floor>
void Compare(comm::Communicator& comm, const char* name, Ours&& ours, Floor&& floor) {
  const auto together = [&](const auto& body) {
    return [&] {
      Check(comm.Barrier("start"));
      body();
      Check(comm.Barrier("end"));
    };
  };
  const double ratio = MedianRatio(together(ours), together(floor), 15);
  if (comm.rank() == 0) Report(std::string("collectives/") + name, ratio, "one pass", kGoal);
}

void Long(comm::Communicator& comm, const Memory& memory) {
  const int rank = comm.rank();
  float *const mine = memory.whole[rank], *const other = memory.other[rank];
  const auto bytes = [](float* data, size_t count) {
    return std::as_writable_bytes(std::span(data, count));
  };
  Compare(
      comm, "all_reduce 64 MiB",
      [&] { Check(comm.AllReduce("x", DType::kF32, 0.5f, mine, kElements)); },
      [&] {
        float* a = memory.whole[0] + rank * kHalf;
        float* b = memory.whole[1] + rank * kHalf;
        for (int64_t i = 0; i < kHalf; ++i) a[i] = b[i] = (a[i] + b[i]) * 0.5f;
      });
  Compare(
      comm, "reduce_scatter 64 MiB",
      [&] { Check(comm.ReduceScatter("x", DType::kF32, 0.5f, mine, other, kHalf)); },
      [&] {
        const float* a = memory.whole[0] + rank * kHalf;
        const float* b = memory.whole[1] + rank * kHalf;
        for (int64_t i = 0; i < kHalf; ++i) other[i] = (a[i] + b[i]) * 0.5f;
      });
  Compare(
      comm, "all_gather 64 MiB",
      [&] { Check(comm.AllGather("x", bytes(mine, kHalf), bytes(other, kElements))); },
      [&] {
        for (int r = 0; r < kRanks; ++r) {
          std::memcpy(other + r * kHalf, memory.whole[r], kHalfBytes);
        }
      });
  Compare(
      comm, "all_to_all 64 MiB",
      [&] { Check(comm.AllToAll("x", bytes(mine, kElements), bytes(other, kElements))); },
      [&] {
        for (int r = 0; r < kRanks; ++r) {
          std::memcpy(other + r * kHalf, memory.whole[r] + rank * kHalf, kHalfBytes);
        }
      });
}

void Short(comm::Communicator& comm, float* data) {
  constexpr int kTimes = 20000;
  std::vector<double> each;
  for (int round = 0; round < 9; ++round) {
    each.push_back(Seconds([&] {
                     for (int i = 0; i < kTimes; ++i) {
                       Check(comm.AllReduce("x", DType::kF32, 0.5f, data, 256));
                     }
                   }) /
                   kTimes);
  }
  if (comm.rank() != 0) return;
  std::printf("all_reduce of 1 KiB: %.2f us\n", Median(each) * 1e6);
  Report("collectives/all_reduce 1 KiB", 1e-6 / Median(each), "1 us", 1);
}

void Run() {
  TaskPool pool(1);
  std::vector<Array> arrays;
  for (int i = 0; i < 2 * kRanks; ++i) arrays.emplace_back(pool, DType::kF32, kElements);
  const Memory memory = {{arrays[0].floats(), arrays[1].floats()},
                         {arrays[2].floats(), arrays[3].floats()}};
  Check(comm::RunThreads(kRanks, {}, [&](comm::Communicator& comm) -> Status {
    Long(comm, memory);
    Short(comm, memory.whole[comm.rank()]);
    return {};
  }));
}

}  // namespace
}  // namespace ds::bench

int main() { ds::bench::Run(); }
