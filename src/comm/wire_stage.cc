#include "comm/wire_stage.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace ds::comm {
namespace {

constexpr size_t kWirePiece = 128 << 10;  // bytes of a message that are on their way at once

size_t WireRoom(int size) { return std::clamp<size_t>(size * (16 << 10), 256 << 10, 512 << 10); }

// What one rank tells another.
struct Note {
  enum Kind : int32_t { kCame, kIsIn, kLeft, kWirePiece, kAccepted, kRefused } kind = kCame;
  Post post;
};

// All that MPI reads or writes. It outlives a stage whose messages are not over.
struct Memory {
  Memory(int size, size_t room) : out(room), in(2 * size * room), letter(kWirePiece), notes(size) {}
  std::vector<std::byte> out, in, letter;
  std::vector<Note> notes;  // from each rank
  Note header, answer;
};

class WireStage final : public Stage {
 public:
  explicit WireStage(WireGroup group)
      : group_(std::move(group)),
        room_(WireRoom(size())),
        memory_(std::make_unique<Memory>(size(), room_)),
        notes_(size()),
        moves_(2 * size()),
        in_(size()) {
    place_ = std::make_shared<Rendezvous>(CreateBoard(), Seconds(), group_.origin, nullptr);
    place_->set_pump([this] { Turn(); });
    group_.fate->Add(place_);
    for (int r = 0; r < size(); ++r) ListenTo(r);
  }
  ~WireStage() override;

  const char* backend() const override { return "mpi"; }
  int rank() const override { return group_.rank; }
  int size() const override { return static_cast<int>(group_.members.size()); }
  int local_size() const override {
    return static_cast<int>(
        std::count_if(group_.members.begin(), group_.members.end(),
                      [this](int world) { return group_.processes[world].process != 0; }));
  }
  int number(int rank) const override { return place_->number(rank); }
  size_t room() const override { return room_; }
  std::byte* out() override { return memory_->out.data(); }
  const std::byte* in(int r) const override { return in_[r]; }

  Status Meet(const Call& call) override;
  Status Swap(const Call& call, size_t stride, size_t bytes, int only) override;
  Status Send(std::string_view what, int to, std::span<const std::byte> data) override;
  Status Recv(std::string_view what, int from, std::span<std::byte> data) override;
  Result<std::unique_ptr<Stage>> Divide(const char* op, std::string_view what,
                                        ColorKey mine) override;
  void Break(const Status& why) override { place_->Abort(why); }
  void Abort(const Status& why) override { group_.alarm->Ring(number(rank()), why); }

 private:
  enum Channel { kNotes, kData, kLetters, kAnswers, kChannels };

  Wire& wire() const { return *group_.wire; }
  std::chrono::duration<double> Seconds() const {
    return std::chrono::duration<double>(wire().timeout_seconds());
  }
  // Tags below this many are those of the wire itself and of the alarm.
  int Tag(Channel channel) const {
    return 8 + static_cast<int>(group_.context) * kChannels + channel;
  }
  uint32_t Contexts() const { return static_cast<uint32_t>((wire().tags() - 8) / kChannels); }

  std::shared_ptr<Board> CreateBoard() const;
  void ListenTo(int r);
  void Turn();
  bool IsOver(void*& request);
  Status Tell(int to, Channel channel, Note::Kind kind);
  Status Start(bool send, int peer, Channel channel, void* data, size_t bytes, void** request);
  // Until the one message with `peer` is over.
  Status AwaitOne(int peer, void*& request);

  WireGroup group_;
  const size_t room_;
  std::unique_ptr<Memory> memory_;
  std::vector<void*> notes_;  // the next note of each rank: null once it is there
  std::vector<void*> moves_;  // of one round: from each rank, then to each
  void* letter_ = nullptr;
  void* answer_ = nullptr;
  std::vector<const std::byte*> in_;
  std::shared_ptr<Rendezvous> place_;
  uint64_t round_ = 0;
};

std::shared_ptr<Board> WireStage::CreateBoard() const {
  const size_t bytes = (Board::BytesFor(size()) + 63) & ~size_t{63};
  void* memory = std::aligned_alloc(64, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  std::shared_ptr<Board> board(Board::Make(memory, size()), [](Board* b) { std::free(b); });
  for (int r = 0; r < size(); ++r) {
    const int world = group_.members[r];
    board->member(r).number = world;
    if (r == rank()) continue;
    board->member(r).process = group_.processes[world].process;
    board->member(r).started = group_.processes[world].started;
  }
  return board;
}

// Says that it leaves, and takes nothing with it that MPI still uses.
WireStage::~WireStage() {
  if (place_->broken()) wire().SetUnhealthy();
  for (int r = 0; r < size(); ++r) {
    if (r != rank()) (void)Tell(r, kNotes, Note::kLeft);
  }
  bool gone = true;
  const auto drop = [&](void*& request) {
    if (request != nullptr && !wire().Cancel(&request)) gone = false;
  };
  for (void*& request : notes_) drop(request);
  for (void*& request : moves_) drop(request);
  drop(letter_);
  drop(answer_);
  if (!gone) (void)memory_.release();
}

Status WireStage::Start(bool send, int peer, Channel channel, void* data, size_t bytes,
                        void** request) {
  const int world = group_.members[peer];
  const Status status = send ? wire().Send(world, Tag(channel), data, bytes, request)
                             : wire().Receive(world, Tag(channel), data, bytes, request);
  if (!status.ok()) {
    *request = nullptr;
    Break(status);
  }
  return status;
}

void WireStage::ListenTo(int r) {
  if (r == rank()) return;
  (void)Start(false, r, kNotes, &memory_->notes[r], sizeof(Note), &notes_[r]);
}

bool WireStage::IsOver(void*& request) {
  if (request == nullptr) return true;
  const auto over = wire().Test(&request);
  if (!over.ok()) {
    request = nullptr;
    Break(over.status());
  }
  return request == nullptr;
}

// What is called while this rank waits. A rank may be one meeting ahead: its note is kept until
// this one is there too. That one is in a message may be said behind it, while this one is in the
// next meeting already: taken as long as the other has not come there, whose post would be lost.
void WireStage::Turn() {
  group_.alarm->Listen();
  for (int r = 0; r < size(); ++r) {
    if (r == rank() || !IsOver(notes_[r])) continue;
    const Note& note = memory_->notes[r];
    if (note.kind == Note::kLeft) {
      place_->Leave(r);
    } else if (note.kind == Note::kIsIn &&
               (!place_->IsMeeting(rank()) || place_->came(r) < place_->came(rank()))) {
      place_->Note(r, note.post.op, note.post.what, note.post.bytes);
      ListenTo(r);
    } else if (note.kind == Note::kCame && place_->came(r) < place_->came(rank())) {
      place_->Came(r, note.post);
      ListenTo(r);
    }
  }
}

Status WireStage::Tell(int to, Channel channel, Note::Kind kind) {
  Note note;
  note.kind = kind;
  note.post = place_->post(rank());
  note.post.data = nullptr;
  return wire().Post(group_.members[to], Tag(channel), &note, sizeof note);
}

// The peers hear of it before this rank waits for theirs.
Status WireStage::Meet(const Call& call) {
  if (!place_->broken()) {
    place_->Note(rank(), call.op, call.what, call.bytes, call.detail, call.scale);
    for (int r = 0; r < size(); ++r) {
      if (r != rank()) DS_TRY(Tell(r, kNotes, Note::kCame));
    }
  }
  return place_->Meet(rank(), call.op, call.what, call.bytes, nullptr, call.detail, call.scale);
}

Status WireStage::Swap(const Call& call, size_t stride, size_t bytes, int only) {
  DS_TRY(Meet(call));
  std::byte* const half = memory_->in.data() + (round_++ & 1) * size() * room_;
  for (int r = 0; r < size(); ++r) {
    in_[r] = r == rank() ? out() + r * stride : half + r * room_;
    if (r == rank() || bytes == 0) continue;
    if (only < 0 || only == r) {
      DS_TRY(Start(false, r, kData, half + r * room_, bytes, &moves_[r]));
    }
    if (only < 0 || only == rank()) {
      DS_TRY(Start(true, r, kData, out() + r * stride, bytes, &moves_[size() + r]));
    }
  }
  const auto all_over = [&] {
    bool over = true;
    for (void*& move : moves_) over = IsOver(move) && over;
    return over;
  };
  return place_->WaitFor(rank(), all_over, [&](int r) {
    return moves_[r] != nullptr || moves_[size() + r] != nullptr;
  });
}

Status WireStage::AwaitOne(int peer, void*& request) {
  return place_->WaitFor(
      rank(), [&] { return IsOver(request); }, [&](int r) { return r == peer; });
}

// A header, an answer, then the bytes.
Status WireStage::Send(std::string_view what, int to, std::span<const std::byte> data) {
  if (!place_->broken()) place_->Note(rank(), "send", what, data.size());
  DS_TRY(Tell(to, kNotes, Note::kIsIn));
  DS_TRY(Tell(to, kLetters, Note::kWirePiece));
  DS_TRY(Start(false, to, kAnswers, &memory_->answer, sizeof(Note), &answer_));
  DS_TRY(AwaitOne(to, answer_));
  if (memory_->answer.kind == Note::kRefused) {
    const Post& theirs = memory_->answer.post;
    place_->Note(to, theirs.op, theirs.what, theirs.bytes);
    return place_->Refuse(rank(), to);
  }
  for (size_t at = 0; at < data.size();) {
    const size_t count = std::min(kWirePiece, data.size() - at);
    std::memcpy(memory_->letter.data(), data.data() + at, count);
    DS_TRY(Start(true, to, kLetters, memory_->letter.data(), count, &letter_));
    DS_TRY(AwaitOne(to, letter_));
    at += count;
  }
  return {};
}

Status WireStage::Recv(std::string_view what, int from, std::span<std::byte> data) {
  if (!place_->broken()) place_->Note(rank(), "recv", what, data.size());
  DS_TRY(Tell(from, kNotes, Note::kIsIn));
  DS_TRY(Start(false, from, kLetters, &memory_->header, sizeof(Note), &letter_));
  DS_TRY(AwaitOne(from, letter_));
  const Post& theirs = memory_->header.post;
  if (std::strcmp(theirs.what, place_->post(rank()).what) != 0 || theirs.bytes != data.size()) {
    DS_TRY(Tell(from, kAnswers, Note::kRefused));
    place_->Note(from, theirs.op, theirs.what, theirs.bytes);
    return place_->Refuse(from, rank());
  }
  DS_TRY(Tell(from, kAnswers, Note::kAccepted));
  for (size_t at = 0; at < data.size();) {
    const size_t count = std::min(kWirePiece, data.size() - at);
    DS_TRY(Start(false, from, kLetters, memory_->letter.data(), count, &letter_));
    DS_TRY(AwaitOne(from, letter_));
    std::memcpy(data.data() + at, memory_->letter.data(), count);
    at += count;
  }
  return {};
}

// Two rounds: who belongs together; then the number that tells the new group's messages from
// others, which the first of them gives out.
Result<std::unique_ptr<Stage>> WireStage::Divide(const char* op, std::string_view what,
                                                 ColorKey mine) {
  std::memcpy(out(), &mine, sizeof mine);
  DS_TRY(Swap({op, what, sizeof mine}, 0, sizeof mine, -1));
  std::vector<ColorKey> all(size());
  for (int r = 0; r < size(); ++r) std::memcpy(&all[r], in(r), sizeof all[r]);
  const std::vector<int> members = MembersWith(all, rank());
  const bool is_in = mine.color >= 0;
  uint64_t context = is_in && members[0] == rank() ? wire().FreshContext() : 0;
  std::memcpy(out(), &context, sizeof context);
  DS_TRY(Swap({op, what, sizeof context}, 0, sizeof context, -1));
  if (!is_in) return std::unique_ptr<Stage>();
  std::memcpy(&context, in(members[0]), sizeof context);
  if (context >= Contexts()) {
    return Error(Code::kComm, "{}({}): it would be group {}, and MPI has tags for {} groups", op,
                 what, context, Contexts());
  }
  WireGroup part = group_;
  part.context = static_cast<uint32_t>(context);
  part.origin = place_;
  part.members.clear();
  for (const int r : members) part.members.push_back(group_.members[r]);
  part.rank = static_cast<int>(std::find(members.begin(), members.end(), rank()) - members.begin());
  return CreateWireStage(std::move(part));
}

}  // namespace

std::unique_ptr<Stage> CreateWireStage(WireGroup group) {
  return std::make_unique<WireStage>(std::move(group));
}

}  // namespace ds::comm
