// Where the threads of a group meet: each posts what it is about to do, waits for the others, and
// learns here when a peer failed, left, was late, or is doing something else. Moves no data.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ds::comm {

class Rendezvous {
 public:
  // What a rank posts. Peers read it between the two meetings of a collective.
  struct Post {
    const char* op = "";  // "all_gather"
    char what[80] = "";   // subject, cut to fit
    size_t bytes = 0;     // must be alike on all ranks
    const void* data = nullptr;
  };

  // `origin`: the meeting place of the communicator that this one duplicates, or none.
  Rendezvous(int size, std::chrono::duration<double> timeout,
             std::shared_ptr<const Rendezvous> origin);

  int size() const { return static_cast<int>(ranks_.size()); }
  const Post& post(int rank) const { return ranks_[rank].post; }

  // Arrives with a post and waits until every rank has; the last to come compares the posts. Where
  // it succeeds it succeeds for all, and each then reads what the others posted and calls Part(),
  // without a step between that may wait or fail. (Nothing is read when `bytes` is 0.)
  Status Meet(int rank, const char* op, std::string_view what, size_t bytes, const void* data);
  // Waits until every rank has come here too: after it, posts and what they point to may change.
  // That holds when it fails as well: a broken group is not left before its last reader is done.
  Status Part(int rank);

  void Leave(int rank);
  bool HasLeft(int rank) const;
  // The first reason stays.
  void Abort(const Status& why);

  // For Duplicate(): rank 0 leaves something for all to take between Meet and Part.
  std::shared_ptr<Rendezvous> offered;

 private:
  struct Rank {
    Post post;
    bool arrived = false, left = false;
  };

  Status Wait(std::unique_lock<std::mutex>& lock, int rank);
  Status CheckPosts() const;
  Status Describe(int rank, const Status& why) const;
  Status TimedOut(int rank) const;
  int GoneAndMissing() const;
  void AwaitReason(std::unique_lock<std::mutex>& lock);

  const std::chrono::duration<double> timeout_;
  const std::shared_ptr<const Rendezvous> origin_;
  const bool spins_;  // sleeping is slow, but spinning takes the core that the late rank needs

  std::atomic<int64_t> round_ = 0;    // meetings finished; written under mutex_
  std::atomic<bool> broken_ = false;  // set after broken_by_

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable met_;
  std::vector<Rank> ranks_;
  int waiting_ = 0;
  int reading_ = 0;             // ranks between Meet() and Part() that may read posts
  int64_t refused_round_ = -1;  // the meeting whose posts differed
  Status broken_by_;
};

}  // namespace ds::comm
