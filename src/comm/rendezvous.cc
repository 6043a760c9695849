#include "comm/rendezvous.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/host.h"

namespace ds::comm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kGrace = milliseconds(200);
// Between two looks at whether the peers still live. Wake() comes sooner.
constexpr auto kLook = milliseconds(20);

std::shared_ptr<Board> PrivateBoard(int size) {
  const size_t bytes = (Board::BytesFor(size) + 63) & ~size_t{63};
  void* memory = std::aligned_alloc(64, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return {Board::Make(memory, size), [](Board* board) { std::free(board); }};
}

// Held for a copy of some bytes only. A process that died over it does not stop the others.
class PostLock {
 public:
  explicit PostLock(Member& member) : lock_(member.post_lock) {
    for (int i = 0; i < 10000 && lock_.exchange(1, std::memory_order_acquire) != 0; ++i) {
      std::this_thread::yield();
    }
  }
  ~PostLock() { lock_.store(0, std::memory_order_release); }
  PostLock(const PostLock&) = delete;
  PostLock& operator=(const PostLock&) = delete;

 private:
  std::atomic<uint32_t>& lock_;
};

bool Spins(int size) { return size <= UsableCores(); }

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

Rendezvous::Rendezvous(int size, std::chrono::duration<double> timeout,
                       std::shared_ptr<const Rendezvous> origin)
    : board_(PrivateBoard(size)),
      timeout_(timeout),
      origin_(std::move(origin)),
      fate_(nullptr),
      processes_(false),
      spins_(Spins(size)) {}

Rendezvous::Rendezvous(std::shared_ptr<Board> board, std::chrono::duration<double> timeout,
                       std::shared_ptr<const Rendezvous> origin, const Reason* fate)
    : board_(std::move(board)),
      timeout_(timeout),
      origin_(std::move(origin)),
      fate_(fate),
      processes_(true),
      spins_(Spins(board_->size)) {}

void Rendezvous::Write(int rank, const char* op, std::string_view what, size_t bytes,
                       const void* data, int detail, double scale) {
  Member& me = board_->member(rank);
  const PostLock lock(me);
  Post& post = me.post;
  std::strncpy(post.op, op, sizeof post.op - 1);
  const size_t length = std::min(what.size(), sizeof post.what - 1);
  std::memcpy(post.what, what.data(), length);
  post.what[length] = '\0';
  post.bytes = bytes;
  post.detail = detail;
  post.scale = scale;
  post.data = data;
}

Status Rendezvous::Meet(int rank, const char* op, std::string_view what, size_t bytes,
                        const void* data, int detail, double scale) {
  if (broken() || FateIsSealed()) return Describe(rank, op, what);
  Write(rank, op, what, bytes, data, detail, scale);
  return Arrive(rank, true, kSpin);
}

Status Rendezvous::Part(int rank, bool soon) {
  Board& board = *board_;
  const bool reads = !processes_ && board.member(rank).post.bytes > 0;
  if (reads && board.reading.fetch_sub(1) == 1 && broken()) board.Wake();
  const Status status = Arrive(rank, false, soon ? kSpinForSoon : kSpin);
  if (status.ok() || processes_) return status;  // what processes read stays mapped
  while (board.reading.load() > 0) {
    Sleep([&] { return board.reading.load() <= 0; }, kLook);
  }
  return status;
}

Status Rendezvous::Arrive(int rank, bool with_post, std::chrono::microseconds spin) {
  const uint64_t meeting = came(rank) + 1;
  const uint64_t all = meeting * static_cast<uint64_t>(size());
  board_->member(rank).came.store(meeting);
  if (!Count(rank, with_post, meeting)) return Outcome(rank, meeting);
  const auto over = [&] { return board_->arrivals.load(std::memory_order_acquire) >= all; };
  if (!over())
    Await(
        rank, over, [&](int r) { return came(r) < meeting; }, spin);
  return Outcome(rank, meeting);
}

// Counts the arrival, unless the group is broken. The last to come compares the posts first: those
// of the others stay as they are until it has arrived.
bool Rendezvous::Count(int rank, bool with_post, uint64_t meeting) {
  const uint64_t all = meeting * static_cast<uint64_t>(size());
  uint64_t arrivals = board_->arrivals.load();
  do {
    if ((arrivals & Board::kBroken) != 0) return false;
    if (!with_post || arrivals + 1 != all) continue;
    if (const Status same = CheckPosts(); !same.ok()) {
      Break(same, rank, meeting);
      return false;
    }
    if (post(rank).bytes > 0) board_->reading.store(size());
  } while (!board_->arrivals.compare_exchange_weak(arrivals, arrivals + 1));
  if (arrivals + 1 == all) board_->Wake();
  return true;
}

void Rendezvous::Came(int rank, const Post& post) {
  Write(rank, post.op, post.what, post.bytes, nullptr, post.detail, post.scale);
  const uint64_t meeting = came(rank) + 1;
  board_->member(rank).came.store(meeting);
  Count(rank, true, meeting);
}

Status Rendezvous::WaitFor(int rank, FunctionRef<bool()> over, Missing missing) {
  Await(rank, over, missing);
  return over() ? Status() : Failure(rank);
}

// A group that broke after this meeting was over still lets every rank out of it alike.
Status Rendezvous::Outcome(int rank, uint64_t meeting) const {
  const uint64_t arrivals = board_->arrivals.load() & ~Board::kBroken;
  if (arrivals >= meeting * static_cast<uint64_t>(size())) return {};
  const Reason& why = board_->broken;
  return why.is_set() && why.meeting() == meeting ? why.status() : Failure(rank);
}

// Whoever timed out says so in its own words; the others, what they were in as they heard of it.
Status Rendezvous::Failure(int rank) const {
  const Reason& why = board_->broken;
  const bool own = why.is_set() && why.by() == rank && why.status().code() == Code::kTimeout;
  return own ? why.status() : Describe(rank);
}

void Rendezvous::Break(const Status& why, int by, uint64_t meeting) {
  board_->broken.Set(why, by, meeting);
  board_->arrivals.fetch_or(Board::kBroken);
  board_->Wake();
}

bool Rendezvous::FateIsSealed() {
  if (fate_ == nullptr || !fate_->is_set()) return false;
  Break(fate_->status(), -1);
  return true;
}

bool Rendezvous::Spin(FunctionRef<bool()> over, std::chrono::microseconds longest) const {
  for (int i = 0; i < 64; ++i) {
    if (over()) return true;
    if (spins_) Relax();
  }
  const auto start = Clock::now();
  while (Clock::now() - start < longest) {
    for (int i = 0; i < 16; ++i) {
      if (over()) return true;
      if (!spins_) {
        std::this_thread::yield();
        break;
      }
      Relax();
    }
  }
  return false;
}

void Rendezvous::Sleep(FunctionRef<bool()> over, std::chrono::nanoseconds longest) {
  if (pump_) {  // nobody wakes it
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    return;
  }
  board_->sleepers.fetch_add(1);
  const uint32_t epoch = board_->epoch.load();
  if (!over()) board_->Sleep(epoch, longest);
  board_->sleepers.fetch_sub(1);
}

// Returns when it is over or the group is broken, which it sees to.
void Rendezvous::Await(int rank, FunctionRef<bool()> over, Missing missing,
                       std::chrono::microseconds spin) {
  const auto ended = [&] {
    if (pump_) pump_();
    return over() || broken();
  };
  if (Spin(ended, spin)) return;
  const auto end = Clock::now() + std::chrono::duration_cast<std::chrono::nanoseconds>(timeout_);
  for (;;) {
    if (ended() || FateIsSealed()) return;
    if (const int gone = FirstGone(missing); gone >= 0 && !ended()) {
      AwaitReason(gone);
      if (!ended()) Break(Error(Code::kRankLost, "rank {} left the group", number(gone)), -1);
      return;
    }
    if (const int dead = FirstDead(missing); dead >= 0 && !ended()) {
      return Break(Error(Code::kRankLost, "rank {} died (process {})", number(dead),
                         board_->member(dead).process),
                   -1);
    }
    const auto now = Clock::now();
    if (now >= end && TimeOut(rank, missing, now >= end + kGrace)) return;
    Sleep(ended, std::clamp<std::chrono::nanoseconds>(end - now, milliseconds(1), kLook));
  }
}

// Where nobody is missing, all came in the meantime and are about to say so: false, unless one of
// them was stopped just there.
bool Rendezvous::TimeOut(int rank, Missing missing, bool must) {
  const std::string late = Late(missing);
  if (late.empty() && !must) return false;
  const Post& mine = post(rank);
  Break(Error(Code::kTimeout, "timed out after {:g} s: rank {} is in {}({}) and waits for {}",
              timeout_.count(), number(rank), mine.op, mine.what,
              late.empty() ? "a rank on its way" : late),
        rank);
  return true;
}

int Rendezvous::FirstGone(Missing missing) const {
  for (int r = 0; r < size(); ++r) {
    // In this order: what it came to before it left is then known.
    if (board_->member(r).left.load() != 0 && missing(r)) return r;
  }
  return -1;
}

int Rendezvous::FirstDead(Missing missing) const {
  if (!processes_) return -1;
  // Where nobody is missing, all have said that they come, and one has not been counted: if it died
  // just there, it is one of those that are dead.
  bool all_came = true;
  for (int r = 0; r < size(); ++r) all_came = all_came && !missing(r);
  for (int r = 0; r < size(); ++r) {
    const Member& member = board_->member(r);
    const auto awaited = [&] { return all_came || missing(r); };
    if (member.process == 0 || member.started < 0 || !awaited()) continue;
    if (!ProcessId{member.process, member.started}.IsAlive() && awaited()) return r;
  }
  return -1;
}

// A rank that fails gives up the duplicates of its communicator first, with its engine, and says
// why a moment later; one that just ends gives up the original next.
void Rendezvous::AwaitReason(int rank) {
  if (origin_ == nullptr) return;
  const Rendezvous* first = origin_.get();  // an engine's own is a duplicate too
  while (first->origin_ != nullptr) first = first->origin_.get();
  const auto end = Clock::now() + kGrace;
  while (!broken() && !FateIsSealed() && Clock::now() < end && !first->HasLeft(number(rank))) {
    Sleep([&] { return broken(); }, milliseconds(1));
  }
}

void Rendezvous::Leave(int rank) {
  board_->member(rank).left.store(1);
  board_->Wake();
}

bool Rendezvous::HasLeft(int number) const {
  for (int r = 0; r < size(); ++r) {
    if (this->number(r) == number) return board_->member(r).left.load() != 0;
  }
  return true;
}

Status Rendezvous::CheckPosts() const {
  for (int r = 1; r < size(); ++r) {
    if (const Status same = Disagreement(0, r); !same.ok()) return same;
  }
  return {};
}

Status Rendezvous::Disagreement(int a, int b) const {
  const Post &first = post(a), &other = post(b);
  const bool same_call =
      std::strcmp(first.op, other.op) == 0 && std::strcmp(first.what, other.what) == 0;
  if (same_call && first.bytes == other.bytes && first.detail != other.detail) {
    return Error(Code::kRankMismatch, "ranks disagree in {}({}): rank {} has {} {}, rank {} has {}",
                 first.op, first.what, number(a),
                 std::strcmp(first.op, "broadcast") == 0 ? "root" : "dtype", first.detail,
                 number(b), other.detail);
  }
  // As bits: no number is another one's equal where one is not a number.
  const auto bits = [](double scale) { return std::bit_cast<uint64_t>(scale); };
  if (same_call && first.bytes == other.bytes && bits(first.scale) != bits(other.scale)) {
    return Error(Code::kRankMismatch,
                 "ranks disagree in {}({}): rank {} has scale {}, rank {} has {}", first.op,
                 first.what, number(a), first.scale, number(b), other.scale);
  }
  if (same_call && first.bytes == other.bytes) return {};
  return Error(Code::kRankMismatch,
               "ranks disagree: rank {} is in {}({}) with {} bytes, rank {} in {}({}) with {}",
               number(a), first.op, first.what, first.bytes, number(b), other.op, other.what,
               other.bytes);
}

Status Rendezvous::Refuse(int a, int b) {
  const Status differ = Disagreement(a, b);
  Break(differ, -1);
  return differ;
}

Status Rendezvous::Describe(int rank) const {
  const Post& mine = post(rank);
  return Describe(rank, mine.op, mine.what);
}

Status Rendezvous::Describe(int rank, const char* op, std::string_view what) const {
  const Reason& why = board_->broken;
  const Status status =
      why.is_set() ? why.status() : Error(Code::kRankLost, "a rank died as it said why");
  return Error(status.code(), "{} (seen by rank {} in {}({}))", status.message(), number(rank), op,
               what);
}

std::string Rendezvous::Late(Missing missing) const {
  std::string names;
  for (int r = 0; r < size(); ++r) {
    if (!missing(r)) continue;
    Post last;
    {
      const PostLock lock(board_->member(r));
      last = post(r);
    }
    names += names.empty() ? "" : ", ";
    names += last.op[0] == '\0'
                 ? fmt::format("rank {} (never seen)", number(r))
                 : fmt::format("rank {} (last in {}({}))", number(r), last.op, last.what);
  }
  return names;
}

}  // namespace ds::comm
