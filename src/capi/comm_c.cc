#include <deepspeed/ds_comm.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/host.h"
#include "capi/guard.h"
#include "capi/handles.h"

using ds::Code;
using ds::Status;
using ds::capi::Guard;
using ds::capi::Membership;

namespace ds::capi {
namespace {

struct GroupOptions {
  comm::Options comm;
  int threads = 1;
};

Result<GroupOptions> ReadOptions(const ds_comm_options* options) {
  ds_comm_options known = DS_COMM_OPTIONS_INIT;
  if (options != nullptr) DS_TRY(ReadStruct("options", options, known));
  GroupOptions read;
  if (known.timeout_seconds != 0) read.comm.timeout_seconds = known.timeout_seconds;
  if (!(read.comm.timeout_seconds > 0 && read.comm.timeout_seconds <= 1e6)) {
    return InvalidArgument("options.timeout_seconds is {:g}, not in (0, 1e6]",
                           known.timeout_seconds);
  }
  if (known.threads < 0 || known.threads > 4096) {
    return InvalidArgument("options.threads is {}, not in 0..4096", known.threads);
  }
  read.threads = known.threads != 0 ? known.threads : UsableCores();
  return read;
}

std::shared_ptr<TaskPool> CreatePool(int threads, int ranks) {
  return std::make_shared<TaskPool>(TaskPool::SizeFor(threads, ranks));
}

}  // namespace

Result<std::shared_ptr<Membership>> CreateSelfMembership(const ds_comm_options* options) {
  DS_ASSIGN(const GroupOptions group, ReadOptions(options));
  auto self = std::make_shared<Membership>();
  self->pool = CreatePool(group.threads, 1);
  self->comm = comm::CreateSelf();
  return self;
}

}  // namespace ds::capi

extern "C" {

ds_status ds_comm_create_self(const ds_comm_options* options, ds_comm** out_comm) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_comm);
    DS_ASSIGN(auto membership, ds::capi::CreateSelfMembership(options));
    *out_comm = ds::capi::MakeHandle<ds_comm>(std::move(membership)).release();
    return {};
  });
}

ds_status ds_comm_create_threads(int32_t world_size, const ds_comm_options* options,
                                 ds_comm** out_comms) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_comms);
    DS_ASSIGN(const auto group, ds::capi::ReadOptions(options));
    DS_ASSIGN(auto ranks, ds::comm::CreateThreads(world_size, group.comm));
    const auto pool = ds::capi::CreatePool(group.threads, world_size);
    std::vector<ds::capi::HandleOwner<ds_comm>> comms;
    for (auto& rank : ranks) {
      comms.push_back(ds::capi::MakeHandle<ds_comm>(
          std::make_shared<Membership>(Membership{pool, std::move(rank)})));
    }
    for (int32_t r = 0; r < world_size; ++r) out_comms[r] = comms[r].release();
    return {};
  });
}

ds_status ds_comm_create_mpi(const ds_comm_options* options, const void* mpi_comm,
                             ds_comm** out_comm) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_comm);
    DS_ASSIGN(const auto group, ds::capi::ReadOptions(options));
    DS_ASSIGN(auto rank, ds::comm::CreateMpi(group.comm, mpi_comm));
    auto pool = std::make_shared<ds::TaskPool>(std::max(1, group.threads / rank->local_size()));
    auto membership = std::make_shared<Membership>(Membership{std::move(pool), std::move(rank)});
    *out_comm = ds::capi::MakeHandle<ds_comm>(std::move(membership)).release();
    return {};
  });
}

void ds_comm_destroy(ds_comm* comm) { ds::capi::Destroy(__func__, comm); }

ds_status ds_comm_run_threads(int32_t world_size, const ds_comm_options* options, ds_rank_fn fn,
                              void* user_data) {
  return Guard([&]() -> Status {
    DS_REQUIRE(fn);
    DS_ASSIGN(const auto group, ds::capi::ReadOptions(options));
    const auto pool = world_size >= 1 ? ds::capi::CreatePool(group.threads, world_size) : nullptr;
    return ds::comm::RunThreadsShared(
        world_size, group.comm, [&](const std::shared_ptr<ds::comm::Communicator>& rank) -> Status {
          const auto comm =
              ds::capi::MakeHandle<ds_comm>(std::make_shared<Membership>(Membership{pool, rank}));
          (void)ds::capi::TakeThreadError();
          const ds_status status = fn(comm.get(), user_data);
          if (status == DS_OK) return {};
          Status said = ds::capi::TakeThreadError();
          if (static_cast<ds_status>(said.code()) != status) {
            said = ds::Error(static_cast<Code>(status), "the rank function returned {} ({})",
                             static_cast<int>(status), ds_status_string(status));
          }
          // What it began would be finished as its handle ends, and peers may never come to it.
          if (!comm->queue.idle()) rank->Abort(said);
          return said;
        });
  });
}

ds_status ds_comm_get_rank(const ds_comm* comm, int32_t* out_rank) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    DS_REQUIRE(out_rank);
    *out_rank = comm->membership->comm->rank();
    return {};
  });
}

ds_status ds_comm_get_size(const ds_comm* comm, int32_t* out_size) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    DS_REQUIRE(out_size);
    *out_size = comm->membership->comm->size();
    return {};
  });
}

ds_status ds_comm_barrier(ds_comm* comm) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    return comm->queue.Do([](ds::comm::Communicator& rank) { return rank.Barrier("caller"); },
                          nullptr);
  });
}

ds_status ds_comm_all_reduce(ds_comm* comm, double* values, size_t count) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    if (count > 0) DS_REQUIRE(values);
    if (count > static_cast<size_t>(INT64_MAX) / sizeof(double)) {
      return ds::InvalidArgument("count is {}, more than fit the address space", count);
    }
    return comm->queue.Do(
        [=](ds::comm::Communicator& rank) {
          return rank.AllReduce("caller", {values, count});
        },
        nullptr);
  });
}

ds_status ds_comm_split(ds_comm* comm, int32_t color, int32_t key, ds_comm** out_comm) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    DS_REQUIRE(out_comm);
    comm->queue.Drain();
    ds::comm::Communicator& rank = *comm->membership->comm;
    DS_ASSIGN(const auto part, ds::capi::Together(rank, [&]() -> ds::Result<ds_comm*> {
                DS_ASSIGN(std::shared_ptr<ds::comm::Communicator> own,
                          rank.Split("caller", color, key));
                if (own == nullptr) return nullptr;
                return ds::capi::MakeHandle<ds_comm>(std::make_shared<Membership>(Membership{
                                                         comm->membership->pool, std::move(own)}))
                    .release();
              }));
    *out_comm = part;
    return {};
  });
}

ds_status ds_comm_wait(ds_comm* comm, ds_ticket ticket) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    return comm->queue.Wait(ticket);
  });
}

ds_status ds_comm_test(ds_comm* comm, ds_ticket ticket, int32_t* out_done) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    DS_REQUIRE(out_done);
    DS_ASSIGN(const bool done, comm->queue.Test(ticket));
    *out_done = done ? 1 : 0;
    return {};
  });
}

ds_status ds_comm_abort(ds_comm* comm, const char* message) {
  return Guard([&]() -> Status {
    DS_REQUIRE(comm);
    DS_REQUIRE(message);
    comm->membership->comm->Abort(Status(Code::kCancelled, message));
    return {};
  });
}

}  // extern "C"
