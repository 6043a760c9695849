// A process that is killed or stopped while its peer reads its memory in place: the peer ends in an
// error that names it, and neither crashes over memory that went away.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "comm/shared_stage.h"
#include "device/memory.h"

namespace ds::test {
namespace {

constexpr int kRanks = 2;
constexpr int64_t kFloats = 1 << 20;

// What the processes have in common besides the segment.
struct Table {
  device::SharedHeapId heaps[kRanks];
  std::atomic<int> ready = 0;
  std::atomic<int64_t> rounds = 0;
  int32_t code = -1;
  char text[400] = "";
};

Status Loop(const std::shared_ptr<comm::Segment>& segment, int rank, double timeout, Table& table) {
  DS_ASSIGN(device::SharedHeap * heap, device::SharedHeap::OfProcess(kRanks));
  table.heaps[rank] = heap->id();
  ++table.ready;
  while (table.ready < kRanks) std::this_thread::yield();
  auto views = std::make_shared<std::vector<std::unique_ptr<device::SharedHeapView>>>(kRanks);
  DS_ASSIGN((*views)[1 - rank], device::SharedHeapView::Open(table.heaps[1 - rank]));
  const auto comm = comm::CreateStaged(comm::CreateSharedStage({.segment = segment,
                                                                .origin = nullptr,
                                                                .fate = nullptr,
                                                                .timeout_seconds = timeout,
                                                                .heap = heap,
                                                                .views = std::move(views)},
                                                               rank));
  device::MemoryAccount account;
  account.set_heap(heap);
  for (;;) {  // new memory each time: what a peer reads may have gone already
    DS_ASSIGN(auto data, device::Buffer::Create(account, device::MemoryKind::kGradients,
                                                kFloats * static_cast<int64_t>(sizeof(float))));
    DS_TRY(comm->AllReduce("x", DType::kF32, 0.5f, data.data(), kFloats));
    DS_TRY(comm->ReduceScatter("y", DType::kF32, 0.5f, data.data(),
                               data.data() + rank * kFloats * 2, kFloats / kRanks));
    if (rank == 0) ++table.rounds;
  }
}

void EndOne(int signal, double timeout, int round) {
  auto segment = comm::CreateSharedSegment(kRanks);
  ASSERT_TRUE(segment.ok()) << segment.status().message();
  (*segment)->Unlink();  // the children have it by fork
  void* memory =
      mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Table& table = *new (memory) Table;
  pid_t children[kRanks];
  for (int r = 0; r < kRanks; ++r) {
    children[r] = fork();
    if (children[r] == 0) {
      const Status status = Loop(*segment, r, timeout, table);
      if (r == 0) {
        table.code = static_cast<int32_t>(status.code());
        status.message().copy(table.text, sizeof table.text - 1);
      }
      _exit(0);
    }
    comm::SetProcess(**segment, r, comm::ProcessId::Of(children[r]));
  }
  while (table.rounds < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::microseconds(370 * round));
  EXPECT_EQ(kill(children[1], signal), 0);
  int state = 0;
  ASSERT_EQ(waitpid(children[0], &state, 0), children[0]);
  EXPECT_TRUE(WIFEXITED(state)) << "ended by signal " << WTERMSIG(state);
  const std::string text = table.text;
  const bool killed = signal == SIGKILL;
  EXPECT_EQ(table.code, static_cast<int32_t>(killed ? Code::kRankLost : Code::kTimeout)) << text;
  EXPECT_NE(text.find(killed ? "rank 1 died" : "waits for rank 1"), text.npos) << text;
  kill(children[1], SIGCONT);  // stopped: it reads on in what its peer had, and ends
  ASSERT_EQ(waitpid(children[1], &state, 0), children[1]);
  EXPECT_TRUE(killed || WIFEXITED(state)) << "ended by signal " << WTERMSIG(state);
  munmap(memory, sizeof(Table));
}

TEST(HeapFault, ARankThatIsKilledIsNamed) {
  for (int round = 0; round < 8; ++round) EndOne(SIGKILL, 20, round);
}

TEST(HeapFault, ARankThatIsStoppedIsNamedAndMayGoOn) {
  for (int round = 0; round < 4; ++round) EndOne(SIGSTOP, 0.7, round);
}

}  // namespace
}  // namespace ds::test
