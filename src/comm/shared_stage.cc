#include "comm/shared_stage.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace ds::comm {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kLetter = 128 << 10;  // bytes of a message that are on their way at once

size_t PagesOf(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Two of these a rank: one is read while the next is laid out. They should stay in the second-level
// cache, or a round goes through memory three times.
size_t RoomFor(int size) { return std::clamp<size_t>(size * (16 << 10), 256 << 10, 512 << 10); }

size_t BytesPerRank(int size) { return 2 * RoomFor(size) + kLetter; }

// What the first rank of a group to be tells the others.
struct Offer {
  size_t bytes = 0;  // of the segment; 0: there is none, for this reason
  int32_t code = 0;
  char text[400] = "";  // its name or the reason

  void Set(const Status& why) {
    code = static_cast<int32_t>(why.code());
    SetText(why.message());
  }
  void SetText(const std::string& value) { value.copy(text, sizeof text - 1); }
  Status status() const { return {static_cast<Code>(code), text}; }
};

class SharedStage final : public Stage {
 public:
  SharedStage(const SharedGroup& group, int rank)
      : group_(group),
        rank_(rank),
        room_(RoomFor(board().size)),
        bytes_(group.segment->data() + PagesOf(Board::BytesFor(board().size))),
        strides_(board().size),
        shown_(board().size) {
    std::shared_ptr<Board> shared(group_.segment, &board());
    if (group_.fate == nullptr) {
      group_.fate = std::make_shared<Fate>(std::shared_ptr<Reason>(shared, &shared->aborted));
    }
    place_ = std::make_shared<Rendezvous>(std::move(shared),
                                          std::chrono::duration<double>(group.timeout_seconds),
                                          group_.origin, group_.fate->record().get());
    group_.fate->Add(place_);
  }
  ~SharedStage() override {
    if (place_->broken() && group_.when_broken) group_.when_broken();
    place_->Leave(rank_);
  }

  const char* backend() const override { return group_.backend; }
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(strides_.size()); }
  int number(int rank) const override { return place_->number(rank); }
  size_t room() const override { return room_; }
  std::byte* out() override { return Area(rank_) + (round_ & 1) * room_; }

  Status Swap(const Call& call, size_t stride, size_t, int) override {
    DS_TRY(Meet(call));
    for (int r = 0; r < size(); ++r) strides_[r] = Area(r) + (round_ & 1) * room_ + rank_ * stride;
    ++round_;
    return {};
  }
  const std::byte* in(int r) const override { return strides_[r]; }
  Status Meet(const Call& call) override {
    return place_->Meet(rank_, call.op, call.what, call.bytes, nullptr, call.detail, call.scale);
  }

  device::SharedHeap* heap() const override { return group_.heap; }
  Result<bool> Show(const Call& call, const void* data, size_t bytes, int only) override;
  const std::byte* shown(int r) const override { return shown_[r]; }
  Status Part(bool soon) override { return place_->Part(rank_, soon); }

  Status Send(std::string_view what, int to, std::span<const std::byte> data) override {
    size_t at = 0;
    do {
      const size_t count = std::min(kLetter, data.size() - at);
      if (count > 0) std::memcpy(LetterOf(rank_), data.data() + at, count);
      DS_TRY(place_->Hand(rank_, to, what, data.size(), nullptr));
      at += count;
    } while (at < data.size());
    return {};
  }
  Status Recv(std::string_view what, int from, std::span<std::byte> data) override {
    size_t at = 0;
    do {
      const size_t count = std::min(kLetter, data.size() - at);
      DS_TRY(place_->Take(rank_, from, what, data.size(), [&](const void*) {
        if (count > 0) std::memcpy(data.data() + at, LetterOf(from), count);
      }));
      at += count;
    } while (at < data.size());
    return {};
  }

  Result<std::unique_ptr<Stage>> Divide(const char* op, std::string_view what,
                                        ColorKey mine) override;
  void Break(const Status& why) override { place_->Abort(why); }
  void Abort(const Status& why) override { group_.fate->Abort(number(rank_), why); }

 private:
  Board& board() const { return *reinterpret_cast<Board*>(group_.segment->data()); }
  std::byte* Area(int r) const { return bytes_ + r * BytesPerRank(size()); }
  std::byte* LetterOf(int r) const { return Area(r) + 2 * room_; }

  template <typename T>
  Status SwapOne(const char* op, std::string_view what, const T& mine) {
    std::memcpy(out(), &mine, sizeof mine);
    return Swap({op, what, sizeof mine}, 0, sizeof mine, -1);
  }
  Result<std::shared_ptr<Segment>> CreateFor(const std::vector<int>& members) const;

  SharedGroup group_;
  const int rank_;
  const size_t room_;
  std::byte* const bytes_;
  std::shared_ptr<Rendezvous> place_;
  uint64_t round_ = 0;
  std::vector<const std::byte*> strides_;  // in(r)
  std::vector<const std::byte*> shown_;
};

// A post tells where in the heap of its process the bytes lie: one more, for 0 is nowhere.
Result<bool> SharedStage::Show(const Call& call, const void* data, size_t bytes, int only) {
  const bool mine = only < 0 || only == rank_;
  const int64_t offset = mine ? group_.heap->OffsetOf(data, bytes) : -1;
  DS_TRY(place_->Meet(rank_, call.op, call.what, call.bytes,
                      reinterpret_cast<const void*>(offset + 1), call.detail, call.scale));
  bool all = true;
  for (int r = 0; r < size(); ++r) {
    const int64_t theirs = reinterpret_cast<intptr_t>(place_->post(r).data) - 1;
    shown_[r] = r == rank_ ? (offset < 0 ? nullptr : static_cast<const std::byte*>(data))
                           : (*group_.views)[number(r)]->at(theirs, bytes);
    if ((only < 0 || only == r) && shown_[r] == nullptr) all = false;
  }
  return all;
}

Result<std::shared_ptr<Segment>> SharedStage::CreateFor(const std::vector<int>& members) const {
  DS_ASSIGN(auto segment, CreateSharedSegment(static_cast<int>(members.size())));
  auto* made = reinterpret_cast<Board*>(segment->data());
  for (size_t i = 0; i < members.size(); ++i) {
    const Member& old = board().member(members[i]);
    Member& member = made->member(static_cast<int>(i));
    member.number = old.number;
    member.process = old.process;
    member.started = old.started;
  }
  return segment;
}

// Three rounds: who belongs together; the segment that the first of them made; whether all of them
// have mapped it.
Result<std::unique_ptr<Stage>> SharedStage::Divide(const char* op, std::string_view what,
                                                   ColorKey mine) {
  std::vector<ColorKey> all(size());
  DS_TRY(SwapOne(op, what, mine));
  for (int r = 0; r < size(); ++r) std::memcpy(&all[r], in(r), sizeof all[r]);
  const std::vector<int> members = MembersWith(all, rank_);
  const bool first = members[0] == rank_, is_in = mine.color >= 0;
  SharedGroup part = {.segment = nullptr,
                      .origin = place_,
                      .fate = group_.fate,
                      .timeout_seconds = group_.timeout_seconds,
                      .backend = group_.backend,
                      .heap = group_.heap,
                      .views = group_.views,
                      .when_broken = group_.when_broken};
  Offer offer;
  if (is_in && first) {
    if (auto made = CreateFor(members); made.ok()) {
      part.segment = std::move(made).Take();
      offer.bytes = part.segment->bytes();
      offer.SetText(part.segment->name());
    } else {
      offer.Set(made.status());
    }
  }
  DS_TRY(SwapOne(op, what, offer));
  std::memcpy(&offer, in(members[0]), sizeof offer);
  Offer answer;
  if (is_in && offer.bytes == 0) answer.Set(offer.status());
  if (is_in && offer.bytes != 0 && !first) {
    auto opened = Segment::Open(offer.text, offer.bytes);
    if (!opened.ok()) answer.Set(opened.status());
    if (opened.ok()) part.segment = std::move(opened).Take();
  }
  DS_TRY(SwapOne(op, what, answer));
  if (!is_in) return std::unique_ptr<Stage>();
  if (first && part.segment != nullptr) part.segment->Unlink();
  for (const int r : members) {
    std::memcpy(&answer, in(r), sizeof answer);
    if (!answer.status().ok()) return answer.status();
  }
  const auto rank = std::find(members.begin(), members.end(), rank_) - members.begin();
  return CreateSharedStage(part, static_cast<int>(rank));
}

}  // namespace

size_t SharedStageBytes(int size) {
  return PagesOf(Board::BytesFor(size)) + size * BytesPerRank(size);
}

Result<std::shared_ptr<Segment>> CreateSharedSegment(int size) {
  DS_ASSIGN(auto segment, Segment::Create(SharedStageBytes(size)));
  Board::Make(segment->data(), size);
  return segment;
}

std::unique_ptr<Stage> CreateSharedStage(const SharedGroup& group, int rank) {
  return std::make_unique<SharedStage>(group, rank);
}

void SetProcess(Segment& segment, int rank, const ProcessId& id) {
  Member& member = reinterpret_cast<Board*>(segment.data())->member(rank);
  member.process = id.process;
  member.started = id.started;
}

}  // namespace ds::comm
