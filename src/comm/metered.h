// A communicator that counts what goes through another one, and through its duplicates.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "comm/communicator.h"

namespace ds::comm {

enum class Collective {
  kAllGather,
  kReduceScatter,
  kAllReduce,
  kBroadcast,
  kAllToAll,
  kSend,
  kRecv,
  kBarrier
};
inline constexpr int kCollectives = 8;
const char* CollectiveName(Collective collective);

// Calls of one rank, and the bytes that it handed over in them (that it received: kRecv; of a
// broadcast: those of the message). Written by the threads that communicate, read by any.
class Traffic {
 public:
  void Add(Collective collective, int64_t bytes) {
    auto& c = counts_[static_cast<int>(collective)];
    c.calls.fetch_add(1, std::memory_order_relaxed);
    c.bytes.fetch_add(bytes, std::memory_order_relaxed);
  }
  int64_t calls(Collective c) const { return counts_[static_cast<int>(c)].calls; }
  int64_t bytes(Collective c) const { return counts_[static_cast<int>(c)].bytes; }

 private:
  struct Count {
    std::atomic<int64_t> calls = 0, bytes = 0;
  };
  std::array<Count, kCollectives> counts_;
};

class MeteredCommunicator final : public Communicator {
 public:
  // Both outlive this.
  MeteredCommunicator(Communicator& inner, Traffic& traffic) : inner_(inner), traffic_(traffic) {}
  MeteredCommunicator(std::unique_ptr<Communicator> inner, Traffic& traffic)
      : owned_(std::move(inner)), inner_(*owned_), traffic_(traffic) {}

  const char* backend() const override { return inner_.backend(); }
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  device::SharedHeap* heap() const override { return inner_.heap(); }
  int local_size() const override { return inner_.local_size(); }
  Status AllGather(std::string_view what, std::span<const std::byte> send,
                   std::span<std::byte> recv) override;
  Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                       void* recv, int64_t shard, std::span<const int> slice_of) override;
  Status AllReduce(std::string_view what, DType dtype, float scale, void* data, int64_t n) override;
  using Communicator::AllReduce;
  Status AllReduce(std::string_view what, std::span<double> values, double scale) override;
  Status Barrier(std::string_view what) override;
  Status Broadcast(std::string_view what, int root, std::span<std::byte> data) override;
  Status AllToAll(std::string_view what, std::span<const std::byte> send,
                  std::span<std::byte> recv) override;
  Status AllToAllV(std::string_view what, std::span<const std::byte> send,
                   std::span<const int64_t> send_bytes, std::span<std::byte> recv,
                   std::span<const int64_t> recv_bytes) override;
  Status Send(std::string_view what, int to, std::span<const std::byte> data) override;
  Status Recv(std::string_view what, int from, std::span<std::byte> data) override;
  Result<std::unique_ptr<Communicator>> Duplicate(std::string_view what) override;
  Result<std::unique_ptr<Communicator>> Split(std::string_view what, int color, int key) override;
  void Abort(const Status& why) override { inner_.Abort(why); }

 private:
  Result<std::unique_ptr<Communicator>> Metered(Result<std::unique_ptr<Communicator>> made);

  const std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  Traffic& traffic_;
};

}  // namespace ds::comm
