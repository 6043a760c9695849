// An MPI that serves one thread at a time, and groups that are used by several: their calls of it
// never overlap. This program has the MPI functions that the module calls under MPI's own names, as
// profilers do, and counts who is in them.
#include <gtest/gtest.h>
#include <mpi.h>

#include <atomic>
#include <thread>
#include <vector>

#include "comm/communicator.h"

namespace {

std::atomic<int> inside = 0, most = 0, calls = 0;

class Visit {
 public:
  Visit() {
    const int now = ++inside;
    int seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    ++calls;
    std::this_thread::yield();  // time for another to come in
  }
  ~Visit() { --inside; }
};

}  // namespace

extern "C" {

int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request* request) {
  const Visit visit;
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}
int MPI_Irecv(void* data, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm,
              MPI_Request* request) {
  const Visit visit;
  return PMPI_Irecv(data, count, type, from, tag, comm, request);
}
int MPI_Test(MPI_Request* request, int* done, MPI_Status* status) {
  const Visit visit;
  return PMPI_Test(request, done, status);
}
int MPI_Cancel(MPI_Request* request) {
  const Visit visit;
  return PMPI_Cancel(request);
}
int MPI_Comm_idup(MPI_Comm comm, MPI_Comm* twin, MPI_Request* request) {
  const Visit visit;
  return PMPI_Comm_idup(comm, twin, request);
}

}  // extern "C"

namespace ds::comm {
namespace {

TEST(MpiTurns, OneThreadAtATimeIsInMpi) {
  std::vector<std::unique_ptr<Communicator>> groups;
  for (int i = 0; i < 3; ++i) {
    auto made = CreateMpi({.timeout_seconds = 60}, nullptr);
    ASSERT_TRUE(made.ok()) << made.status().message();
    groups.push_back(std::move(made).Take());
  }
  std::vector<Status> ends(groups.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < groups.size(); ++i) {
    threads.emplace_back([&, i] {
      std::vector<float> data(1000, 1.0f);
      for (int round = 0; round < 50 && ends[i].ok(); ++round) {
        ends[i] = groups[i]->AllReduce("x", DType::kF32, 0.5f, data.data(), 1000);
      }
      EXPECT_EQ(data[999], 1.0f);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& end : ends) EXPECT_TRUE(end.ok()) << end.message();
  EXPECT_GT(calls, 100);  // the module's calls came through here
  EXPECT_EQ(most, 1);
}

}  // namespace
}  // namespace ds::comm

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  MPI_Finalize();
  return failed;
}
