// Where the ranks of a group meet: each posts what it is about to do, waits for the others, and
// learns here when a peer failed, left, died, was late, or is doing something else. Moves no data.
// The ranks are threads that share one object, or processes with one each on a common board.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "comm/board.h"

namespace ds::comm {

class Rendezvous {
 public:
  // Ranks that are threads. `origin`: the meeting place of the communicator that this one came
  // from, or none.
  Rendezvous(int size, std::chrono::duration<double> timeout,
             std::shared_ptr<const Rendezvous> origin);
  // Ranks that are processes, over a board that they all map. `fate`, in memory that `origin` keeps
  // (or this board's own): when it is set, this group is over too.
  Rendezvous(std::shared_ptr<Board> board, std::chrono::duration<double> timeout,
             std::shared_ptr<const Rendezvous> origin, const Reason* fate);

  int size() const { return board_->size; }
  const Post& post(int rank) const { return board_->member(rank).post; }
  // What errors call it: its rank in the first group.
  int number(int rank) const { return board_->member(rank).number; }
  void set_number(int rank, int number) { board_->member(rank).number = number; }

  // Arrives with a post and waits until every rank has; the last to come compares the posts. Where
  // it succeeds it succeeds for all, and each then reads what the others posted and calls Part(),
  // without a step between that may wait or fail. (Nothing is read when `bytes` is 0.)
  Status Meet(int rank, const char* op, std::string_view what, size_t bytes, const void* data,
              int detail = 0, double scale = 1);
  // Waits until every rank has come here too: after it, posts and what they point to may change.
  // That holds when it fails as well: a broken group is not left before its last reader is done.
  // `soon`: the others are in the same loop, a piece of work behind at most.
  Status Part(int rank, bool soon = false);

  // Between two ranks: the one posts and waits until the other has read (or refused); that one
  // waits for the post, compares and reads.
  Status Hand(int rank, int to, std::string_view what, size_t bytes, const void* data);
  Status Take(int rank, int from, std::string_view what, size_t bytes,
              FunctionRef<void(const void* data)> read);

  bool broken() const { return (board_->arrivals.load() & Board::kBroken) != 0; }
  // Of ranks that hear of each other by messages, each over a board of its own. What is called to
  // look for them while a rank waits:
  void set_pump(std::function<void()> pump) { pump_ = std::move(pump); }
  // Another rank has come to the meeting that this one is in.
  void Came(int rank, const Post& post);
  // Whether the meeting that the rank came to last is not over.
  bool IsMeeting(int rank) const {
    return (board_->arrivals.load() & ~Board::kBroken) < came(rank) * static_cast<uint64_t>(size());
  }
  uint64_t came(int rank) const { return board_->member(rank).came.load(); }
  // Waits for something else than a meeting, of which `missing` ranks are late.
  Status WaitFor(int rank, FunctionRef<bool()> over, FunctionRef<bool(int rank)> missing);
  // What a rank is in, for errors, where no meeting says it.
  void Note(int rank, const char* op, std::string_view what, size_t bytes, int detail = 0,
            double scale = 1) {
    Write(rank, op, what, bytes, nullptr, detail, scale);
  }
  // Breaks the group because the posts of the two differ.
  Status Refuse(int a, int b);

  void Leave(int rank);
  // `number`: as errors call it.
  bool HasLeft(int number) const;
  // The first reason stays. `rank`: who found it, or -1.
  void Abort(const Status& why, int rank = -1) { Break(why, rank); }

 private:
  using Missing = FunctionRef<bool(int rank)>;
  // How long a wait takes the core before it sleeps. To be woken takes so long that ranks which
  // meet every few hundred microseconds would go on sleeping in turn.
  static constexpr std::chrono::microseconds kSpin{50}, kSpinForSoon{2000};

  void Write(int rank, const char* op, std::string_view what, size_t bytes, const void* data,
             int detail = 0, double scale = 1);
  Status Arrive(int rank, bool with_post, std::chrono::microseconds spin);
  bool Count(int rank, bool with_post, uint64_t meeting);
  Status Outcome(int rank, uint64_t meeting) const;
  void Break(const Status& why, int by, uint64_t meeting = 0);
  bool FateIsSealed();

  void Await(int rank, FunctionRef<bool()> over, Missing missing,
             std::chrono::microseconds spin = kSpin);
  bool Spin(FunctionRef<bool()> over, std::chrono::microseconds longest) const;
  void Sleep(FunctionRef<bool()> over, std::chrono::nanoseconds longest);
  int FirstGone(Missing missing) const;
  int FirstDead(Missing missing) const;
  bool TimeOut(int rank, Missing missing, bool must);
  void AwaitReason(int rank);

  // Messages.
  Status CheckPosts() const;
  Status Disagreement(int a, int b) const;
  Status Describe(int rank) const;
  Status Failure(int rank) const;
  Status Describe(int rank, const char* op, std::string_view what) const;
  std::string Late(Missing missing) const;

  const std::shared_ptr<Board> board_;
  const std::chrono::duration<double> timeout_;
  const std::shared_ptr<const Rendezvous> origin_;
  const Reason* const fate_;
  const bool processes_;
  std::function<void()> pump_;
  const bool spins_;  // sleeping is slow, but spinning takes the core that the late rank needs
};

// A process as others can watch it: its id, and when it started, for ids come again; negative where
// that could not be learned.
struct ProcessId {
  int64_t process = 0, started = 0;
  static ProcessId Of(int64_t process);
  static ProcessId OfThis();
  // False only where the process is known to have ended.
  bool IsAlive() const;
};

}  // namespace ds::comm
