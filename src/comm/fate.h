// What a first group and all that comes from it share: one failure ends them all.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "comm/rendezvous.h"

namespace ds::comm {

class Fate {
 public:
  // `record`: where ranks that are other processes read it, or null.
  explicit Fate(std::shared_ptr<Reason> record = nullptr) : record_(std::move(record)) {}

  void Add(const std::shared_ptr<Rendezvous>& place) {
    const std::lock_guard lock(mutex_);
    std::erase_if(places_, [](const auto& old) { return old.expired(); });
    places_.push_back(place);
    if (!aborted_.ok()) place->Abort(aborted_);
  }

  // `number`: of the rank, in the first group.
  void Abort(int number, const Status& why) {
    const std::lock_guard lock(mutex_);
    if (!aborted_.ok()) return;
    aborted_ = Told(number, why);
    first_ = number;
    if (record_ != nullptr) record_->Set(aborted_, number);
    for (const auto& place : places_) {
      if (const auto alive = place.lock()) alive->Abort(aborted_);
    }
  }

  // The rank whose abort counted, or -1.
  int first() const {
    const std::lock_guard lock(mutex_);
    return first_;
  }
  Status aborted() const {
    const std::lock_guard lock(mutex_);
    return aborted_;
  }
  const std::shared_ptr<Reason>& record() const { return record_; }

 private:
  // Where the group knows what happened, the first reason is not buried under another.
  static Status Told(int number, const Status& why) {
    if (why.code() == Code::kRankLost || why.code() == Code::kRankMismatch ||
        why.code() == Code::kTimeout) {
      return why;
    }
    return Error(Code::kRankLost, "rank {} failed: {}", number, why.message());
  }

  const std::shared_ptr<Reason> record_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::weak_ptr<Rendezvous>> places_;
  Status aborted_;
  int first_ = -1;
};

}  // namespace ds::comm
