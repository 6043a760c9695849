// The ranks as the placements see them: consecutive ranks form groups, and the ranks that stand at
// the same place of their groups are peers. An array is cut into one slice a rank; the slices of a
// group's member lie together, so that what it keeps under Cut::kGroup is one piece:
//
//   world 4, groups of 2      rank 0   rank 1 | rank 2   rank 3
//   slice of the rank            0        2   |    1        3
//   piece of Cut::kGroup       0, 1     2, 3  |  0, 1     2, 3
//
// Without groups the group is the world, a rank's slice is its number, and it has no peers.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "zero/placement.h"

namespace ds::zero {

struct SliceRange {
  int begin, end;
};

class RankGroups {
 public:
  // `comm` is this object's own; the group size divides its size. Collective.
  static Result<RankGroups> Create(std::unique_ptr<comm::Communicator> comm, int group_size);

  comm::Communicator& world() const { return *world_; }
  comm::Communicator& group() const { return group_ == nullptr ? *world_ : *group_; }

  int slice() const { return slices_[world_->rank()]; }    // of this rank
  std::span<const int> slices() const { return slices_; }  // of every rank
  // What this rank keeps of an array under a cut.
  SliceRange Kept(Cut cut) const;

  // `full` is the start of this rank's piece under `to`, of which the piece under `from` is there:
  // brings in the rest. Collective where the cuts differ.
  Status Widen(std::string_view what, Cut from, Cut to, int64_t slice_bytes,
               std::byte* piece) const;

 private:
  RankGroups(std::unique_ptr<comm::Communicator> comm, int group_size);

  std::unique_ptr<comm::Communicator> world_;
  std::unique_ptr<comm::Communicator> group_, peers_;  // null without groups
  int group_size_;
  std::vector<int> slices_;
};

}  // namespace ds::zero
