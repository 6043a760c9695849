#include "comm/rendezvous.h"

#include <cstring>
#include <thread>

namespace ds::comm {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr auto kGrace = std::chrono::milliseconds(200);

}  // namespace

Rendezvous::Rendezvous(int size, std::chrono::duration<double> timeout,
                       std::shared_ptr<const Rendezvous> origin)
    : timeout_(timeout),
      origin_(std::move(origin)),
      spins_(size <= static_cast<int>(std::thread::hardware_concurrency())),
      ranks_(size) {}

Status Rendezvous::Meet(int rank, const char* op, std::string_view what, size_t bytes,
                        const void* data) {
  std::unique_lock lock(mutex_);
  Post& post = ranks_[rank].post;
  post.op = op;
  const size_t length = std::min(what.size(), sizeof post.what - 1);
  std::memcpy(post.what, what.data(), length);
  post.what[length] = '\0';
  post.bytes = bytes;
  post.data = data;
  if (!broken_ && waiting_ + 1 == size()) {
    if (const Status same = CheckPosts(); !same.ok()) {
      broken_by_ = same;
      refused_round_ = round_;
    } else if (bytes > 0) {
      reading_ = size();
    }
  }
  return Wait(lock, rank);
}

Status Rendezvous::Part(int rank) {
  std::unique_lock lock(mutex_);
  if (ranks_[rank].post.bytes > 0 && --reading_ == 0 && broken_) met_.notify_all();
  const Status status = Wait(lock, rank);
  if (!status.ok()) met_.wait(lock, [&] { return reading_ == 0; });
  return status;
}

Status Rendezvous::Wait(std::unique_lock<std::mutex>& lock, int rank) {
  if (broken_) return Describe(rank, broken_by_);
  const int64_t mine = round_;
  ranks_[rank].arrived = true;
  if (++waiting_ == size()) {
    broken_ = refused_round_ == mine;
    waiting_ = 0;
    for (Rank& r : ranks_) r.arrived = false;
    round_.store(mine + 1, std::memory_order_release);
    met_.notify_all();
    return broken_by_;
  }
  const auto over = [&] { return round_.load(std::memory_order_acquire) != mine; };
  lock.unlock();
  const auto start = std::chrono::steady_clock::now();
  while (!over() && !broken_.load(std::memory_order_acquire) &&
         std::chrono::steady_clock::now() - start < kSpin) {
    if (!spins_) std::this_thread::yield();
  }
  lock.lock();
  const auto end = start + std::chrono::duration_cast<std::chrono::nanoseconds>(timeout_);
  const bool in_time =
      met_.wait_until(lock, end, [&] { return over() || broken_ || GoneAndMissing() >= 0; });
  if (in_time && !over() && !broken_) AwaitReason(lock);
  // A group that broke after this meeting was over still lets every rank out of it alike.
  if (over()) return refused_round_ == mine ? broken_by_ : Status();
  if (!broken_) {
    broken_by_ = !in_time ? TimedOut(rank)
                          : Error(Code::kRankLost, "rank {} left the group", GoneAndMissing());
    broken_ = true;
    met_.notify_all();
    if (!in_time) return broken_by_;
  }
  return Describe(rank, broken_by_);
}

Status Rendezvous::CheckPosts() const {
  const Post& first = ranks_[0].post;
  for (int r = 1; r < size(); ++r) {
    const Post& other = ranks_[r].post;
    if (std::strcmp(first.op, other.op) != 0 || std::strcmp(first.what, other.what) != 0 ||
        first.bytes != other.bytes) {
      return Error(Code::kRankMismatch,
                   "ranks disagree: rank 0 is in {}({}) with {} bytes, rank {} in {}({}) with {}",
                   first.op, first.what, first.bytes, r, other.op, other.what, other.bytes);
    }
  }
  return {};
}

Status Rendezvous::Describe(int rank, const Status& why) const {
  const Post& post = ranks_[rank].post;
  return Error(why.code(), "{} (seen by rank {} in {}({}))", why.message(), rank, post.op,
               post.what);
}

Status Rendezvous::TimedOut(int rank) const {
  std::string missing;
  for (int r = 0; r < size(); ++r) {
    if (ranks_[r].arrived) continue;
    const Post& last = ranks_[r].post;
    missing += missing.empty() ? "" : ", ";
    missing += last.op[0] == '\0' ? fmt::format("rank {} (never seen)", r)
                                  : fmt::format("rank {} (last in {}({}))", r, last.op, last.what);
  }
  const Post& post = ranks_[rank].post;
  return Error(Code::kTimeout, "timed out after {:g} s: rank {} is in {}({}) and waits for {}",
               timeout_.count(), rank, post.op, post.what, missing);
}

int Rendezvous::GoneAndMissing() const {
  for (int r = 0; r < size(); ++r) {
    if (ranks_[r].left && !ranks_[r].arrived) return r;
  }
  return -1;
}

void Rendezvous::Leave(int rank) {
  const std::lock_guard lock(mutex_);
  ranks_[rank].left = true;
  met_.notify_all();
}

bool Rendezvous::HasLeft(int rank) const {
  const std::lock_guard lock(mutex_);
  return ranks_[rank].left;
}

// A rank that fails gives up the duplicates of its communicator first, with its engine, and says
// why a moment later; one that just ends gives up the original next.
void Rendezvous::AwaitReason(std::unique_lock<std::mutex>& lock) {
  if (origin_ == nullptr) return;
  const int rank = GoneAndMissing();
  const auto end = std::chrono::steady_clock::now() + kGrace;
  while (!broken_ && std::chrono::steady_clock::now() < end && !origin_->HasLeft(rank)) {
    met_.wait_for(lock, std::chrono::milliseconds(1));
  }
}

void Rendezvous::Abort(const Status& why) {
  const std::lock_guard lock(mutex_);
  if (broken_) return;
  broken_by_ = why;
  broken_ = true;
  met_.notify_all();
}

}  // namespace ds::comm
