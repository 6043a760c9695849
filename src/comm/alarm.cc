#include "comm/alarm.h"

#include <algorithm>

namespace ds::comm {
namespace {

constexpr int kTag = 1;

}  // namespace

Alarm::Alarm(std::shared_ptr<Wire> wire, std::shared_ptr<Fate> fate)
    : wire_(std::move(wire)),
      fate_(std::move(fate)),
      ears_(std::make_unique<std::vector<Ear>>(wire_->size())) {
  for (int r = 0; r < wire_->size(); ++r) {
    Ear& ear = (*ears_)[r];
    if (r == wire_->rank()) continue;
    if (!wire_->Receive(r, kTag, &ear.message, sizeof ear.message, &ear.request).ok()) {
      ear.request = nullptr;  // it will be missed at the next meeting
    }
  }
}

// What MPI may still write to stays.
Alarm::~Alarm() {
  bool gone = true;
  for (Ear& ear : *ears_) {
    if (ear.request != nullptr && !wire_->Cancel(&ear.request)) gone = false;
  }
  if (!gone) (void)ears_.release();
}

void Alarm::Ring(int rank, const Status& why) {
  fate_->Abort(rank, why);
  if (fate_->first() != rank) return;  // another was first
  const Status told = fate_->aborted();
  Message message;
  message.code = static_cast<int32_t>(told.code());
  message.rank = rank;
  told.message().copy(message.text, sizeof message.text - 1);
  for (int r = 0; r < wire_->size(); ++r) {
    if (r != wire_->rank()) (void)wire_->Post(r, kTag, &message, sizeof message);
  }
}

void Alarm::Listen() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return;  // another thread does
  for (Ear& ear : *ears_) {
    if (ear.request == nullptr) continue;
    const auto over = wire_->Test(&ear.request);
    if (!over.ok()) ear.request = nullptr;
    if (!over.ok() || ear.request != nullptr) continue;
    fate_->Abort(ear.message.rank, {static_cast<Code>(ear.message.code), ear.message.text});
  }
}

}  // namespace ds::comm
