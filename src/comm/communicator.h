// Collectives over one group of ranks. One Communicator belongs to one rank and is used by one
// thread at a time; the collectives of a group are entered in the same order by all its ranks.
//
// Every wait ends: in the result, in the error of a rank that failed or left, or in a time-out
// that names the missing ranks. After such an error the group is dead and says why at each call.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "device/shared_heap.h"
#include "tensor/dtype.h"

namespace ds::comm {

struct Options {
  double timeout_seconds = 300.0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual const char* backend() const = 0;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // How many of the ranks run on this host, and share its cores.
  virtual int local_size() const { return size(); }

  // Memory of this process that the peers can read where it lies: collectives over 64 KiB or more
  // of it copy less. Null: all memory is alike.
  virtual device::SharedHeap* heap() const { return nullptr; }

  // `what` names the subject ("h.3", "gradient norm") in errors, and must be alike on all ranks.

  // Rank r's `send` lands at recv[r * send.size()]; send may be its own slot of recv.
  virtual Status AllGather(std::string_view what, std::span<const std::byte> send,
                           std::span<std::byte> recv) = 0;
  // recv[i] = scale * (send of rank 0 + send of rank 1 + ...)[slice * shard + i] for i < shard,
  // with slice = slice_of[rank()], summed in fp32 in rank order and rounded once. slice_of is a
  // permutation of the ranks, alike on all of them; empty: each its own. send has size() * shard
  // elements; recv may be this rank's slice of send. Here and below, `scale` is alike on all ranks.
  virtual Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                               void* recv, int64_t shard, std::span<const int> slice_of = {}) = 0;
  // data[i] = scale * (data of rank 0 + data of rank 1 + ...)[i] for i < n, summed and rounded as
  // above; every rank gets the same bits.
  virtual Status AllReduce(std::string_view what, DType dtype, float scale, void* data,
                           int64_t n) = 0;
  // Sums in rank order times `scale`, in place; every rank gets the same bits.
  virtual Status AllReduce(std::string_view what, std::span<double> values, double scale) = 0;
  Status AllReduce(std::string_view what, std::span<double> values) {
    return AllReduce(what, values, 1);
  }
  virtual Status Barrier(std::string_view what) = 0;
  // Everybody's `data` becomes that of rank `root`.
  virtual Status Broadcast(std::string_view what, int root, std::span<std::byte> data) = 0;

  // Block r of `send` goes to rank r, block r of `recv` comes from it; send.size() / size() bytes
  // each. The two do not overlap.
  virtual Status AllToAll(std::string_view what, std::span<const std::byte> send,
                          std::span<std::byte> recv) = 0;
  // The same with blocks of send_bytes[r] and recv_bytes[r] bytes, one behind the other. What a
  // rank sends to another must be what that one receives from it.
  virtual Status AllToAllV(std::string_view what, std::span<const std::byte> send,
                           std::span<const int64_t> send_bytes, std::span<std::byte> recv,
                           std::span<const int64_t> recv_bytes) = 0;

  // From one rank to another, without the rest. Both wait: a Send ends when it was received, and
  // two ranks that send to each other at once end in a time-out that says so. `what` and the size
  // must be alike on the two.
  virtual Status Send(std::string_view what, int to, std::span<const std::byte> data) = 0;
  virtual Status Recv(std::string_view what, int from, std::span<std::byte> data) = 0;

  // The ranks of equal `color` as a group of their own, ordered by key, then by rank; null where
  // the color is negative. Errors name a rank by its number in the first group. Collective.
  virtual Result<std::unique_ptr<Communicator>> Split(std::string_view what, int color,
                                                      int key) = 0;
  // A second communicator of the same ranks whose collectives are ordered on their own. Collective.
  virtual Result<std::unique_ptr<Communicator>> Duplicate(std::string_view what) = 0;

  // This rank will not come to the next collective: the calls of its peers, waiting or to come, on
  // this communicator, its duplicates and sub-groups, and what it came from, fail with kRankLost
  // and `why`.
  virtual void Abort(const Status& why) = 0;
};

// A group of one.
std::unique_ptr<Communicator> CreateSelf();

// A group of `size` ranks that are threads of this process; element r belongs to rank r. To
// destroy one is to leave the group: peers that still wait for this rank get an error.
Result<std::vector<std::unique_ptr<Communicator>>> CreateThreads(int size, const Options& options);

// This process's rank in a group of processes of an MPI job: those of `mpi_comm`, which points to
// an MPI_Comm, or all where it is null. MPI brings them together; what passes between ranks of one
// host goes through memory that they share. Collective.
Result<std::unique_ptr<Communicator>> CreateMpi(const Options& options, const void* mpi_comm);
// The MPI library that it would use, or why there is none.
Result<std::string> DescribeMpi();

// Runs `body` once per rank, each on a thread of its own, and joins them. A rank that fails or
// throws aborts the group. Returns the failure that came first, prefixed with its rank when size >
// 1, not one that followed from it.
Status RunThreads(int size, const Options& options, FunctionRef<Status(Communicator&)> body);
// The same for a body that may keep its communicator beyond its own end.
Status RunThreadsShared(int size, const Options& options,
                        FunctionRef<Status(const std::shared_ptr<Communicator>&)> body);

}  // namespace ds::comm
