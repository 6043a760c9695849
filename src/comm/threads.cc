// Ranks that are threads of one process: a peer's memory is read where it lies, in rank order.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "base/failpoint.h"
#include "comm/communicator.h"
#include "comm/rendezvous.h"
#include "tensor/host_reduce.h"

namespace ds::comm {
namespace {

// What the ranks and all duplicates of their communicators share: one failure ends them all.
class Fate {
 public:
  void Add(const std::shared_ptr<Rendezvous>& place) {
    const std::lock_guard lock(mutex_);
    std::erase_if(places_, [](const auto& old) { return old.expired(); });
    places_.push_back(place);
    if (!aborted_.ok()) place->Abort(aborted_);
  }
  void Abort(int rank, const Status& why) {
    const std::lock_guard lock(mutex_);
    if (!aborted_.ok()) return;
    aborted_ = why;
    first_ = rank;
    for (const auto& place : places_) {
      if (const auto alive = place.lock()) alive->Abort(why);
    }
  }
  // The rank whose abort counted, or -1.
  int first() const {
    const std::lock_guard lock(mutex_);
    return first_;
  }

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::weak_ptr<Rendezvous>> places_;
  Status aborted_;
  int first_ = -1;
};

class ThreadRank final : public Communicator {
 public:
  ThreadRank(std::shared_ptr<Fate> fate, std::shared_ptr<Rendezvous> place, int rank,
             const Options& options)
      : fate_(std::move(fate)), place_(std::move(place)), rank_(rank), options_(options) {
    parts_.reserve(place_->size());
  }
  ~ThreadRank() override { place_->Leave(rank_); }

  const char* backend() const override { return "threads"; }
  int rank() const override { return rank_; }
  int size() const override { return place_->size(); }

  Status AllGather(std::string_view what, std::span<const std::byte> send,
                   std::span<std::byte> recv) override {
    DS_FAILPOINT("comm.all_gather", rank_);
    if (recv.size() != send.size() * size()) {
      return InvalidArgument("all_gather({}): {} ranks send {} bytes, {} are received", what,
                             size(), send.size(), recv.size());
    }
    DS_TRY(place_->Meet(rank_, "all_gather", what, send.size(), send.data()));
    for (int i = 0; i < size(); ++i) {
      const int r = (rank_ + i) % size();  // each starts elsewhere: less pull on one memory
      std::byte* slot = recv.data() + r * send.size();
      const void* data = place_->post(r).data;
      if (slot != data && !send.empty()) std::memcpy(slot, data, send.size());
    }
    return place_->Part(rank_);
  }

  Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                       void* recv, int64_t shard) override {
    DS_FAILPOINT("comm.reduce_scatter", rank_);
    const size_t shard_bytes = shard * DTypeBytes(dtype);
    DS_TRY(place_->Meet(rank_, "reduce_scatter", what, shard_bytes, send));
    parts_.clear();
    for (int r = 0; r < size(); ++r) {
      parts_.push_back(static_cast<const std::byte*>(place_->post(r).data) + rank_ * shard_bytes);
    }
    ReduceInOrder(dtype, scale, parts_, shard, recv);
    return place_->Part(rank_);
  }

  Status AllReduce(std::string_view what, std::span<double> values) override {
    DS_FAILPOINT("comm.all_reduce", rank_);
    sums_.assign(values.size(), 0.0);
    DS_TRY(place_->Meet(rank_, "all_reduce", what, values.size_bytes(), values.data()));
    for (int r = 0; r < size(); ++r) {
      const double* theirs = static_cast<const double*>(place_->post(r).data);
      for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += theirs[i];
    }
    DS_TRY(place_->Part(rank_));
    std::copy(sums_.begin(), sums_.end(), values.begin());
    return {};
  }

  Status Barrier(std::string_view what) override {
    DS_FAILPOINT("comm.barrier", rank_);
    return place_->Meet(rank_, "barrier", what, 0, nullptr);
  }

  Result<std::unique_ptr<Communicator>> Duplicate(std::string_view what) override {
    DS_FAILPOINT("comm.duplicate", rank_);
    if (rank_ == 0) {
      place_->offered = std::make_shared<Rendezvous>(
          size(), std::chrono::duration<double>(options_.timeout_seconds), place_);
      fate_->Add(place_->offered);
    }
    // One byte, so that this meeting has readers. What is offered holds its origin: left there by
    // a rank that failed, it would keep both for ever.
    Status status = place_->Meet(rank_, "duplicate", what, 1, nullptr);
    std::shared_ptr<Rendezvous> twin;
    if (status.ok()) {
      twin = place_->offered;
      status = place_->Part(rank_);
    }
    if (rank_ == 0) place_->offered.reset();
    DS_TRY(status);
    return std::unique_ptr<Communicator>(
        std::make_unique<ThreadRank>(fate_, std::move(twin), rank_, options_));
  }

  void Abort(const Status& why) override {
    if (why.code() == Code::kRankLost || why.code() == Code::kRankMismatch ||
        why.code() == Code::kTimeout) {
      fate_->Abort(rank_, why);  // the group knows what happened; do not bury the first reason
    } else {
      fate_->Abort(rank_, Error(Code::kRankLost, "rank {} failed: {}", rank_, why.message()));
    }
  }

 private:
  const std::shared_ptr<Fate> fate_;
  const std::shared_ptr<Rendezvous> place_;
  const int rank_;
  const Options options_;
  // Kept, so that collectives do not allocate: least of all while they read what peers posted.
  std::vector<const void*> parts_;
  std::vector<double> sums_;
};

Result<std::vector<std::unique_ptr<Communicator>>> CreateRanks(int size, const Options& options,
                                                               const std::shared_ptr<Fate>& fate) {
  if (size < 1 || size > 1024) return InvalidArgument("world size is {}, not in 1..1024", size);
  if (!(options.timeout_seconds > 0) || options.timeout_seconds > 1e6) {
    return InvalidArgument("timeout is {:g} s, not in (0, 1e6]", options.timeout_seconds);
  }
  std::vector<std::unique_ptr<Communicator>> ranks;
  const auto place = std::make_shared<Rendezvous>(
      size, std::chrono::duration<double>(options.timeout_seconds), nullptr);
  fate->Add(place);
  for (int r = 0; r < size; ++r) {
    ranks.push_back(std::make_unique<ThreadRank>(fate, place, r, options));
  }
  return ranks;
}

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
  return CreateRanks(size, options, std::make_shared<Fate>());
}

Status RunThreads(int size, const Options& options, FunctionRef<Status(Communicator&)> body) {
  return RunThreadsShared(size, options, [&](const auto& comm) { return body(*comm); });
}

Status RunThreadsShared(int size, const Options& options,
                        FunctionRef<Status(const std::shared_ptr<Communicator>&)> body) {
  const auto fate = std::make_shared<Fate>();
  DS_ASSIGN(auto owned, CreateRanks(size, options, fate));
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
