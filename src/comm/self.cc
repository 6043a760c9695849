#include <cstring>

#include "comm/arguments.h"
#include "comm/communicator.h"
#include "tensor/host_reduce.h"

namespace ds::comm {
namespace {

class Self final : public Communicator {
 public:
  const char* backend() const override { return "self"; }
  int rank() const override { return 0; }
  int size() const override { return 1; }

  Status AllGather(std::string_view what, std::span<const std::byte> send,
                   std::span<std::byte> recv) override {
    if (send.size() != recv.size()) {
      return InvalidArgument("all_gather({}): sends {} bytes, receives {}", what, send.size(),
                             recv.size());
    }
    if (send.data() != recv.data() && !send.empty())
      std::memmove(recv.data(), send.data(), send.size());
    return {};
  }

  Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                       void* recv, int64_t shard, std::span<const int> slice_of) override {
    DS_TRY(CheckSlices(what, 1, slice_of));
    ReduceInOrder(dtype, scale, {&send, 1}, shard, recv);
    return {};
  }

  Status AllReduce(std::string_view, DType dtype, float scale, void* data, int64_t n) override {
    const void* part = data;
    ReduceInOrder(dtype, scale, {&part, 1}, n, data);
    return {};
  }

  Status AllReduce(std::string_view, std::span<double> values, double scale) override {
    for (double& value : values) value *= scale;
    return {};
  }
  Status Barrier(std::string_view) override { return {}; }
  Status Broadcast(std::string_view what, int root, std::span<std::byte>) override {
    return CheckRank("broadcast", what, "the root", root, 1);
  }

  Status AllToAll(std::string_view what, std::span<const std::byte> send,
                  std::span<std::byte> recv) override {
    DS_TRY(CheckAllToAll(what, 1, send.size(), recv.size()));
    if (!send.empty()) std::memmove(recv.data(), send.data(), send.size());
    return {};
  }
  Status AllToAllV(std::string_view what, std::span<const std::byte> send,
                   std::span<const int64_t> send_bytes, std::span<std::byte> recv,
                   std::span<const int64_t> recv_bytes) override {
    DS_TRY(CheckBlocks(what, "sends", 1, send.size(), send_bytes));
    DS_TRY(CheckBlocks(what, "receives", 1, recv.size(), recv_bytes));
    if (send.size() != recv.size()) {
      return BlocksDiffer(what, 0, send_bytes[0], 0, recv_bytes[0]);
    }
    if (!send.empty()) std::memmove(recv.data(), send.data(), send.size());
    return {};
  }

  Status Send(std::string_view what, int to, std::span<const std::byte>) override {
    return CheckPeer("send", what, to, 0, 1);
  }
  Status Recv(std::string_view what, int from, std::span<std::byte>) override {
    return CheckPeer("recv", what, from, 0, 1);
  }

  Result<std::unique_ptr<Communicator>> Split(std::string_view, int color, int) override {
    return color < 0 ? nullptr : CreateSelf();
  }
  Result<std::unique_ptr<Communicator>> Duplicate(std::string_view) override {
    return CreateSelf();
  }
  void Abort(const Status&) override {}
};

}  // namespace

std::unique_ptr<Communicator> CreateSelf() { return std::make_unique<Self>(); }

}  // namespace ds::comm
