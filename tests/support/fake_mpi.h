// Messages between ranks that are threads, behind the interface of the MPI module: as slow, as few
// and as broken as a test wants them.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/wire_stage.h"

namespace ds::test {

struct FakeMessage {
  std::vector<std::byte> bytes;
  std::chrono::steady_clock::time_point due;
};

struct FakeJob;
struct FakeLine;

struct FakeRequest {
  FakeJob* job = nullptr;
  FakeLine* line = nullptr;  // null: sent
  void* data = nullptr;
};

struct FakeLine {  // from one rank to another, under one tag
  std::deque<FakeMessage> sent;
  std::deque<FakeRequest*> wanted;
};

struct FakeJob {
  int size = 2;
  int tags = 1 << 20;
  std::atomic<int> unreachable = -1;  // no message to it can be started
  std::chrono::milliseconds notes_take{0};
  std::mutex mutex;  // guards what follows
  std::map<std::tuple<int, int, int>, FakeLine> lines;
  std::list<FakeRequest> requests;  // under way, or given up
  int unhealthy = 0;

  void Start(FakeLine* line, void* data, void** request) {
    *request = &requests.emplace_back(FakeRequest{this, line, data});
  }
  void End(void** request) {
    requests.remove_if([&](const FakeRequest& r) { return &r == *request; });
    *request = nullptr;
  }
};

// What `mpi_comm` points to.
struct FakeSeat {
  FakeJob* job;
  int rank;
};

}  // namespace ds::test

struct ds_mpi_group {
  ds::test::FakeJob* job;
  int rank;
};

namespace ds::test {

inline int32_t FakeOpen(const void* comm, double, ds_mpi_group** group, char*, size_t) {
  const auto* seat = static_cast<const FakeSeat*>(comm);
  *group = new ds_mpi_group{seat->job, seat->rank};
  return 0;
}

inline int32_t FakeSend(ds_mpi_group* group, int32_t to, int32_t tag, const void* data,
                        size_t bytes, void** request) {
  FakeJob& job = *group->job;
  if (to == job.unreachable) return 1;
  const std::lock_guard lock(job.mutex);
  const auto* begin = static_cast<const std::byte*>(data);
  const bool is_note = tag >= 8 && (tag - 8) % 4 == 0;
  job.lines[{group->rank, to, tag}].sent.push_back(
      {{begin, begin + bytes},
       std::chrono::steady_clock::now() +
           (is_note ? job.notes_take : std::chrono::milliseconds(0))});
  job.Start(nullptr, nullptr, request);
  return 0;
}

inline int32_t FakeReceive(ds_mpi_group* group, int32_t from, int32_t tag, void* data, size_t,
                           void** request) {
  FakeJob& job = *group->job;
  const std::lock_guard lock(job.mutex);
  FakeLine& line = job.lines[{from, group->rank, tag}];
  job.Start(&line, data, request);
  line.wanted.push_back(static_cast<FakeRequest*>(*request));
  return 0;
}

// Messages of a line arrive in the order of the sends, for the receives in their order.
inline int32_t FakeTest(void** handle) {
  auto* request = static_cast<FakeRequest*>(*handle);
  FakeJob& job = *request->job;
  const std::lock_guard lock(job.mutex);
  if (FakeLine* line = request->line; line != nullptr) {
    if (line->wanted.front() != request || line->sent.empty() ||
        line->sent.front().due > std::chrono::steady_clock::now()) {
      return 0;
    }
    const std::vector<std::byte>& bytes = line->sent.front().bytes;
    if (!bytes.empty()) std::memcpy(request->data, bytes.data(), bytes.size());
    line->sent.pop_front();
    line->wanted.pop_front();
  }
  job.End(handle);
  return 1;
}

inline int32_t FakeCancel(void** handle) {
  auto* request = static_cast<FakeRequest*>(*handle);
  FakeJob& job = *request->job;
  const std::lock_guard lock(job.mutex);
  if (request->line != nullptr) std::erase(request->line->wanted, request);
  job.End(handle);
  return 1;
}

inline const ds_mpi_module& FakeMpi() {
  static const ds_mpi_module module = {
      DS_MPI_MODULE_VERSION,
      [] { return "fake"; },
      FakeOpen,
      [](const ds_mpi_group* group) -> int32_t { return group->rank; },
      [](const ds_mpi_group* group) -> int32_t { return group->job->size; },
      [](const ds_mpi_group* group) -> int32_t { return group->job->tags; },
      [](const ds_mpi_group*) -> int32_t { return 1; },
      FakeSend,
      FakeReceive,
      FakeTest,
      FakeCancel,
      [](ds_mpi_group* group, int32_t healthy) {
        const std::lock_guard lock(group->job->mutex);
        group->job->unhealthy += healthy == 0 ? 1 : 0;
        delete group;
      }};
  return module;
}

inline std::shared_ptr<comm::Wire> OpenFakeWire(FakeJob& job, int rank, double timeout) {
  const FakeSeat seat = {&job, rank};
  return comm::Wire::Open(FakeMpi(), &seat, timeout).Take();
}

// The first group of a job, on ranks of which the first `near` share a host with this one.
inline std::unique_ptr<comm::Communicator> CreateFakeGroup(FakeJob& job, int rank, double timeout,
                                                           int near = 0) {
  comm::WireGroup group;
  group.wire = OpenFakeWire(job, rank, timeout);
  group.fate = std::make_shared<comm::Fate>();
  group.alarm = std::make_shared<comm::Alarm>(group.wire, group.fate);
  group.rank = rank;
  for (int r = 0; r < job.size; ++r) {
    group.members.push_back(r);
    group.processes.push_back(r < near ? comm::ProcessId::OfThis() : comm::ProcessId{});
  }
  return comm::CreateStaged(comm::CreateWireStage(std::move(group)));
}

// Runs `body` on every rank, each on a thread of its own.
inline std::vector<Status> RunFakeJob(int size, FunctionRef<Status(int rank)> body) {
  std::vector<Status> ends(size);
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) threads.emplace_back([&, r] { ends[r] = body(r); });
  for (std::thread& thread : threads) thread.join();
  return ends;
}

}  // namespace ds::test
