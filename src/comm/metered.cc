#include "comm/metered.h"

#include <utility>

#include "base/trace.h"

namespace ds::comm {
namespace {

// A call: in the counts from its beginning, in the trace as a span.
class Counted {
 public:
  Counted(Traffic& traffic, Collective collective, std::string_view what, int64_t bytes)
      : span_(TraceLane::kComm, CollectiveName(collective), what, bytes) {
    traffic.Add(collective, bytes);
  }

 private:
  const TraceSpan span_;
};

}  // namespace

const char* CollectiveName(Collective collective) {
  static constexpr const char* kNames[kCollectives] = {"all_gather", "reduce_scatter", "all_reduce",
                                                       "broadcast",  "all_to_all",     "send",
                                                       "recv",       "barrier"};
  return kNames[static_cast<int>(collective)];
}

Status MeteredCommunicator::AllGather(std::string_view what, std::span<const std::byte> send,
                                      std::span<std::byte> recv) {
  const Counted counted(traffic_, Collective::kAllGather, what, std::ssize(send));
  return inner_.AllGather(what, send, recv);
}

Status MeteredCommunicator::ReduceScatter(std::string_view what, DType dtype, float scale,
                                          const void* send, void* recv, int64_t shard,
                                          std::span<const int> slice_of) {
  const Counted counted(traffic_, Collective::kReduceScatter, what,
                        shard * size() * static_cast<int64_t>(DTypeBytes(dtype)));
  return inner_.ReduceScatter(what, dtype, scale, send, recv, shard, slice_of);
}

Status MeteredCommunicator::AllReduce(std::string_view what, std::span<double> values,
                                      double scale) {
  const Counted counted(traffic_, Collective::kAllReduce, what,
                        static_cast<int64_t>(values.size_bytes()));
  return inner_.AllReduce(what, values, scale);
}

Status MeteredCommunicator::Barrier(std::string_view what) {
  const Counted counted(traffic_, Collective::kBarrier, what, 0);
  return inner_.Barrier(what);
}

Status MeteredCommunicator::AllReduce(std::string_view what, DType dtype, float scale, void* data,
                                      int64_t n) {
  const Counted counted(traffic_, Collective::kAllReduce, what,
                        n * static_cast<int64_t>(DTypeBytes(dtype)));
  return inner_.AllReduce(what, dtype, scale, data, n);
}

Status MeteredCommunicator::Broadcast(std::string_view what, int root, std::span<std::byte> data) {
  const Counted counted(traffic_, Collective::kBroadcast, what, std::ssize(data));
  return inner_.Broadcast(what, root, data);
}

Status MeteredCommunicator::AllToAll(std::string_view what, std::span<const std::byte> send,
                                     std::span<std::byte> recv) {
  const Counted counted(traffic_, Collective::kAllToAll, what, std::ssize(send));
  return inner_.AllToAll(what, send, recv);
}

Status MeteredCommunicator::AllToAllV(std::string_view what, std::span<const std::byte> send,
                                      std::span<const int64_t> send_bytes,
                                      std::span<std::byte> recv,
                                      std::span<const int64_t> recv_bytes) {
  const Counted counted(traffic_, Collective::kAllToAll, what, std::ssize(send));
  return inner_.AllToAllV(what, send, send_bytes, recv, recv_bytes);
}

Status MeteredCommunicator::Send(std::string_view what, int to, std::span<const std::byte> data) {
  const Counted counted(traffic_, Collective::kSend, what, std::ssize(data));
  return inner_.Send(what, to, data);
}

Status MeteredCommunicator::Recv(std::string_view what, int from, std::span<std::byte> data) {
  const Counted counted(traffic_, Collective::kRecv, what, std::ssize(data));
  return inner_.Recv(what, from, data);
}

Result<std::unique_ptr<Communicator>> MeteredCommunicator::Metered(
    Result<std::unique_ptr<Communicator>> made) {
  DS_TRY(made.status());
  std::unique_ptr<Communicator> inner = std::move(made).Take();
  if (inner == nullptr) return inner;  // a rank outside of every sub-group
  return std::unique_ptr<Communicator>(
      std::make_unique<MeteredCommunicator>(std::move(inner), traffic_));
}

Result<std::unique_ptr<Communicator>> MeteredCommunicator::Duplicate(std::string_view what) {
  return Metered(inner_.Duplicate(what));
}

Result<std::unique_ptr<Communicator>> MeteredCommunicator::Split(std::string_view what, int color,
                                                                 int key) {
  return Metered(inner_.Split(what, color, key));
}

}  // namespace ds::comm
