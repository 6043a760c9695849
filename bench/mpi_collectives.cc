// Collectives over two processes of an MPI job, against those of the MPI library itself, tuned (its
// temporaries are kept instead of mapped anew at each call, and its ring algorithm is chosen). The
// program starts itself under mpirun.
#include <mpi.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "comm/communicator.h"
#include "comm/launcher.h"
#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

constexpr int kElements = 16 << 20;  // 64 MiB of fp32
constexpr int kHalf = kElements / 2;

void Check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

template <typename Ours, typename Theirs>
void Compare(comm::Communicator& comm, const char* name, double goal, Ours&& ours,
             Theirs&& theirs) {
  const auto together = [&](const auto& body) {
    return [&] {
      Check(comm.Barrier("start"));
      body();
      Check(comm.Barrier("end"));
    };
  };
  const double ratio = MedianRatio(together(ours), together(theirs), 15);
  if (comm.rank() == 0) Report(std::string("mpi/") + name, ratio, "Open MPI, tuned", goal);
}

void Run() {
  auto made = comm::CreateMpi({}, nullptr);
  Check(made.status());
  comm::Communicator& comm = **made;
  TaskPool pool(1);
  Array whole(pool, DType::kF32, kElements), other(pool, DType::kF32, kElements);
  float *const a = whole.floats(), *const b = other.floats();
  const auto bytes = [](float* data, size_t count) {
    return std::as_writable_bytes(std::span(data, count));
  };
  Compare(
      comm, "all_reduce 64 MiB", 1 / 0.45,
      [&] { Check(comm.AllReduce("x", DType::kF32, 0.5f, a, kElements)); },
      [&] { MPI_Allreduce(MPI_IN_PLACE, b, kElements, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
  Compare(
      comm, "reduce_scatter 64 MiB", 1 / 0.45,
      [&] { Check(comm.ReduceScatter("x", DType::kF32, 0.5f, a, b, kHalf)); },
      [&] { MPI_Reduce_scatter_block(a, b, kHalf, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
  Compare(
      comm, "all_gather 64 MiB", 1 / 0.85,
      [&] { Check(comm.AllGather("x", bytes(a, kHalf), bytes(b, kElements))); },
      [&] { MPI_Allgather(a, kHalf, MPI_FLOAT, b, kHalf, MPI_FLOAT, MPI_COMM_WORLD); });
  Compare(
      comm, "all_to_all 64 MiB", 1 / 0.95,
      [&] { Check(comm.AllToAll("x", bytes(a, kElements), bytes(b, kElements))); },
      [&] { MPI_Alltoall(a, kHalf, MPI_FLOAT, b, kHalf, MPI_FLOAT, MPI_COMM_WORLD); });
}

int RunUnderMpi(char** argv) {
  const std::pair<const char*, const char*> settings[] = {
      {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
      {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
      {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
      {"OMPI_MCA_coll_tuned_use_dynamic_rules", "1"},
      {"OMPI_MCA_coll_tuned_allreduce_algorithm", "6"},
      {"GLIBC_TUNABLES",
       "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"}};
  for (const auto& [name, value] : settings) setenv(name, value, 0);
  const char* command[] = {"mpirun", "-n", "2", "--bind-to", "core", argv[0], nullptr};
  execvp(command[0], const_cast<char**>(command));
  std::perror("mpirun");
  return 1;
}

}  // namespace
}  // namespace ds::bench

int main(int, char** argv) {
  if (!ds::comm::FindLaunch()) return ds::bench::RunUnderMpi(argv);
  ds::bench::Run();
}
