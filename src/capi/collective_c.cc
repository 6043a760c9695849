// The collectives of ds_comm.h that take a ticket. Arguments are checked here and at once: what is
// left to go wrong on the stream concerns all ranks.
#include <deepspeed/ds_comm.h>

#include <span>
#include <vector>

#include "capi/element_types.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/together.h"
#include "comm/arguments.h"

using ds::DType;
using ds::Status;
using ds::capi::Guard;
using ds::comm::Communicator;

namespace {

constexpr char kWhat[] = "caller";

std::span<const std::byte> In(const void* data, size_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}
std::span<std::byte> Out(void* data, size_t bytes) {
  return {static_cast<std::byte*>(data), bytes};
}

// The bytes of `blocks` times `count` elements.
ds::Result<size_t> BytesOf(ds_dtype dtype, size_t count, int blocks = 1) {
  const auto* type = ds::capi::FindType(dtype);
  if (type == nullptr) return ds::capi::NoDType("dtype", dtype);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(count, static_cast<int64_t>(type->bits / 8) * blocks, &bytes)) {
    return ds::InvalidArgument("count is {}, more than fit the address space", count);
  }
  return static_cast<size_t>(bytes);
}

Status CheckComputes(const char* op, ds_dtype dtype) {
  if (ds::capi::Computes(dtype)) return {};
  const auto* type = ds::capi::FindType(dtype);
  if (type == nullptr) return ds::capi::NoDType("dtype", dtype);
  return ds::Error(ds::Code::kUnsupported, "{} of {}: f32, bf16 and f16 are supported", op,
                   type->name);
}

Status CheckApart(const char* op, const void* send, size_t send_bytes, const void* recv,
                  size_t recv_bytes) {
  const auto* s = static_cast<const std::byte*>(send);
  const auto* r = static_cast<const std::byte*>(recv);
  if (send_bytes == 0 || recv_bytes == 0 || s >= r + recv_bytes || r >= s + send_bytes) return {};
  return ds::InvalidArgument("{}: send, {} bytes, and recv, {} bytes, overlap", op, send_bytes,
                             recv_bytes);
}

// The same, but that the smaller one may be this rank's part of the other.
Status CheckPart(const char* op, int rank, const void* send, size_t send_bytes, const void* recv,
                 size_t recv_bytes) {
  const auto* s = static_cast<const std::byte*>(send);
  const auto* r = static_cast<const std::byte*>(recv);
  const bool part = send_bytes < recv_bytes ? s == r + static_cast<size_t>(rank) * send_bytes
                                            : r == s + static_cast<size_t>(rank) * recv_bytes;
  return part ? Status() : CheckApart(op, send, send_bytes, recv, recv_bytes);
}

// The blocks of an all_to_all_v, in bytes.
struct Blocks {
  std::vector<int64_t> bytes;
  size_t total = 0;
};
ds::Result<Blocks> ReadBlocks(const char* name, const char* buffer, const void* data,
                              ds_dtype dtype, const size_t* counts, int ranks) {
  Blocks blocks;
  for (int r = 0; r < ranks; ++r) {
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, counts[r]));
    blocks.bytes.push_back(static_cast<int64_t>(bytes));
    if (__builtin_add_overflow(blocks.total, bytes, &blocks.total) || blocks.total > INT64_MAX) {
      return ds::InvalidArgument("{}: elements of {} ranks, more than fit the address space", name,
                                 ranks);
    }
  }
  if (data == nullptr && blocks.total > 0) {
    return ds::InvalidArgument("all_to_all_v: {} of {} bytes at NULL", buffer, blocks.total);
  }
  return blocks;
}

// What goes wrong before the peers are met is told to them as well: they wait already.
template <typename Body>
ds_status Collective(ds_comm* comm, Body&& body) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    return ds::capi::Together(*comm->membership->comm, body);
  });
}

}  // namespace

extern "C" {

ds_status ds_comm_all_reduce_typed(ds_comm* comm, ds_dtype dtype, double scale, void* data,
                                   size_t count, ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(data);
    DS_TRY(BytesOf(dtype, count).status());
    if (dtype == DS_DTYPE_F64) {
      const std::span<double> values(static_cast<double*>(data), count);
      return comm->queue.Do(
          [=](Communicator& rank) { return rank.AllReduce(kWhat, values, scale); }, out_ticket);
    }
    DS_TRY(CheckComputes("all_reduce", dtype));
    return comm->queue.Do(
        [=](Communicator& rank) {
          return rank.AllReduce(kWhat, static_cast<DType>(dtype), static_cast<float>(scale), data,
                                static_cast<int64_t>(count));
        },
        out_ticket);
  });
}

ds_status ds_comm_reduce_scatter(ds_comm* comm, ds_dtype dtype, double scale, const void* send,
                                 void* recv, size_t count, ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(send);
    if (count > 0) DS_REQUIRE(recv);
    DS_TRY(CheckComputes("reduce_scatter", dtype));
    const Communicator& group = *comm->membership->comm;
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, count, group.size()));
    DS_TRY(CheckPart("reduce_scatter", group.rank(), send, bytes, recv, bytes / group.size()));
    return comm->queue.Do(
        [=](Communicator& rank) {
          return rank.ReduceScatter(kWhat, static_cast<DType>(dtype), static_cast<float>(scale),
                                    send, recv, static_cast<int64_t>(count));
        },
        out_ticket);
  });
}

ds_status ds_comm_all_gather(ds_comm* comm, ds_dtype dtype, const void* send, void* recv,
                             size_t count, ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(send);
    if (count > 0) DS_REQUIRE(recv);
    const Communicator& group = *comm->membership->comm;
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, count, group.size()));
    const size_t part = bytes / group.size();
    DS_TRY(CheckPart("all_gather", group.rank(), send, part, recv, bytes));
    return comm->queue.Do(
        [=](Communicator& rank) { return rank.AllGather(kWhat, In(send, part), Out(recv, bytes)); },
        out_ticket);
  });
}

ds_status ds_comm_broadcast(ds_comm* comm, ds_dtype dtype, int32_t root, void* data, size_t count,
                            ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(data);
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, count));
    DS_TRY(
        ds::comm::CheckRank("broadcast", kWhat, "the root", root, comm->membership->comm->size()));
    return comm->queue.Do(
        [=](Communicator& rank) { return rank.Broadcast(kWhat, root, Out(data, bytes)); },
        out_ticket);
  });
}

ds_status ds_comm_all_to_all(ds_comm* comm, ds_dtype dtype, const void* send, void* recv,
                             size_t count, ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(send);
    if (count > 0) DS_REQUIRE(recv);
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, count, comm->membership->comm->size()));
    DS_TRY(CheckApart("all_to_all", send, bytes, recv, bytes));
    return comm->queue.Do(
        [=](Communicator& rank) { return rank.AllToAll(kWhat, In(send, bytes), Out(recv, bytes)); },
        out_ticket);
  });
}

ds_status ds_comm_all_to_all_v(ds_comm* comm, ds_dtype dtype, const void* send,
                               const size_t* send_counts, void* recv, const size_t* recv_counts,
                               ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    DS_REQUIRE(send_counts);
    DS_REQUIRE(recv_counts);
    const int ranks = comm->membership->comm->size();
    DS_ASSIGN(Blocks sent, ReadBlocks("send_counts", "send", send, dtype, send_counts, ranks));
    DS_ASSIGN(Blocks got, ReadBlocks("recv_counts", "recv", recv, dtype, recv_counts, ranks));
    DS_TRY(CheckApart("all_to_all_v", send, sent.total, recv, got.total));
    return comm->queue.Do(
        [=, sent = std::move(sent), got = std::move(got)](Communicator& rank) {
          return rank.AllToAllV(kWhat, In(send, sent.total), sent.bytes, Out(recv, got.total),
                                got.bytes);
        },
        out_ticket);
  });
}

ds_status ds_comm_send(ds_comm* comm, ds_dtype dtype, int32_t to, const void* data, size_t count,
                       ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(data);
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, count));
    const Communicator& own = *comm->membership->comm;
    DS_TRY(ds::comm::CheckPeer("send", kWhat, to, own.rank(), own.size()));
    return comm->queue.Do([=](Communicator& rank) { return rank.Send(kWhat, to, In(data, bytes)); },
                          out_ticket);
  });
}

ds_status ds_comm_recv(ds_comm* comm, ds_dtype dtype, int32_t from, void* data, size_t count,
                       ds_ticket* out_ticket) {
  return Collective(comm, [&]() -> Status {
    if (count > 0) DS_REQUIRE(data);
    DS_ASSIGN(const size_t bytes, BytesOf(dtype, count));
    const Communicator& own = *comm->membership->comm;
    DS_TRY(ds::comm::CheckPeer("recv", kWhat, from, own.rank(), own.size()));
    return comm->queue.Do(
        [=](Communicator& rank) { return rank.Recv(kWhat, from, Out(data, bytes)); }, out_ticket);
  });
}

}  // extern "C"
