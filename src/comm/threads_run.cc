// A program run once per rank, each on a thread of its own.
#include <atomic>
#include <exception>
#include <new>
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

// Where there is no memory left to say why, the peers hear of a rank that left.
void AbortOrLeave(std::shared_ptr<Communicator>& rank, const Status& why) {
  try {
    rank->Abort(why);
  } catch (const std::exception&) {
    rank.reset();
  }
}

// The threads of the ranks but the first. However it ends, they are joined, and none waits for a
// rank that was never started.
class Crew {
 public:
  explicit Crew(std::vector<std::shared_ptr<Communicator>>& ranks) : ranks_(ranks) {}
  ~Crew() {
    if (threads_.size() + 1 < ranks_.size()) {
      ranks_[0].reset();
      for (size_t r = threads_.size() + 1; r < ranks_.size(); ++r) ranks_[r].reset();
    }
    Join();
  }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  Status Start(Fate& fate, FunctionRef<void(int rank)> run) {
    try {
      threads_.reserve(ranks_.size());
      while (threads_.size() + 1 < ranks_.size()) {
        threads_.emplace_back([run, r = static_cast<int>(threads_.size()) + 1] { run(r); });
      }
    } catch (const std::exception& e) {
      const int rank = static_cast<int>(threads_.size()) + 1;
      const Status failed =
          Error(Code::kOutOfMemory, "the thread of rank {} cannot be started: {}", rank, e.what());
      fate.Abort(rank, failed);
      return failed;
    }
    return {};
  }
  void Join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  std::vector<std::shared_ptr<Communicator>>& ranks_;
  std::vector<std::thread> threads_;
};

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
      AbortOrLeave(ranks[r], ends[r]);
    }
    ranks[r].reset();
  };
  Crew crew(ranks);
  DS_TRY(crew.Start(*fate, run));
  run(0);
  crew.Join();
  // A rank that failed inside a collective object told its peers itself, before its body ended.
  const int told = fate->first();
  const int r = told >= 0 && !ends[told].ok() ? told : first.load();
  if (r < 0) return {};
  return size == 1 ? ends[r] : Error(ends[r].code(), "rank {}: {}", r, ends[r].message());
}

}  // namespace ds::comm
