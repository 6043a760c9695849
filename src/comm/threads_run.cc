// A program run once per rank, each on a thread of its own.
#include <atomic>
#include <exception>
#include <new>
#include <system_error>
#include <thread>

#include "comm/threads.h"

namespace ds::comm {
namespace {

Status RunCatching(const std::shared_ptr<Communicator>& comm,
                   FunctionRef<Status(const std::shared_ptr<Communicator>&)> body) {
  try {
    return body(comm);
  } catch (const std::bad_alloc&) {
    return Error(Code::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    return Error(Code::kInternal, "{}", e.what());
  } catch (...) {
    return Error(Code::kInternal, "unknown exception");
  }
}

}  // namespace

Result<std::vector<std::unique_ptr<Communicator>>> CreateThreads(int size, const Options& options) {
  return CreateThreadRanks(size, options, std::make_shared<Fate>());
}

Status RunThreads(int size, const Options& options, FunctionRef<Status(Communicator&)> body) {
  return RunThreadsShared(size, options, [&](const auto& comm) { return body(*comm); });
}

Status RunThreadsShared(int size, const Options& options,
                        FunctionRef<Status(const std::shared_ptr<Communicator>&)> body) {
  const auto fate = std::make_shared<Fate>();
  DS_ASSIGN(auto owned, CreateThreadRanks(size, options, fate));
  std::vector<std::shared_ptr<Communicator>> ranks;
  for (auto& rank : owned) ranks.push_back(std::move(rank));
  std::vector<Status> ends(size);
  std::atomic<int> first = -1;
  const auto run = [&](int r) {
    ends[r] = RunCatching(ranks[r], body);
    if (!ends[r].ok()) {
      int none = -1;
      first.compare_exchange_strong(none, r);  // before the peers hear of it and fail too
      ranks[r]->Abort(ends[r]);
    }
    ranks[r].reset();
  };
  std::vector<std::thread> threads;
  Status started;
  try {
    for (int r = 1; r < size; ++r) threads.emplace_back(run, r);
  } catch (const std::system_error& e) {
    started = Error(Code::kOutOfMemory, "the thread of rank {} cannot be started: {}",
                    threads.size() + 1, e.what());
    fate->Abort(static_cast<int>(threads.size()) + 1, started);
  }
  if (started.ok()) run(0);
  for (std::thread& thread : threads) thread.join();
  if (!started.ok()) return started;
  // A rank that failed inside a collective object told its peers itself, before its body ended.
  const int told = fate->first();
  const int r = told >= 0 && !ends[told].ok() ? told : first.load();
  if (r < 0) return {};
  return size == 1 ? ends[r] : Error(ends[r].code(), "rank {}: {}", r, ends[r].message());
}

}  // namespace ds::comm
