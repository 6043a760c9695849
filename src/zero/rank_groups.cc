#include "zero/rank_groups.h"

#include <utility>

namespace ds::zero {

RankGroups::RankGroups(std::unique_ptr<comm::Communicator> comm, int group_size)
    : world_(std::move(comm)), group_size_(group_size) {
  const int groups = world_->size() / group_size;
  for (int r = 0; r < world_->size(); ++r) {
    slices_.push_back(r % group_size * groups + r / group_size);
  }
}

Result<RankGroups> RankGroups::Create(std::unique_ptr<comm::Communicator> comm, int group_size) {
  if (group_size < 1 || comm->size() % group_size != 0) {
    return InvalidArgument("groups of {} ranks in a world of {}: the world is no multiple of it",
                           group_size, comm->size());
  }
  RankGroups groups(std::move(comm), group_size);
  comm::Communicator& world = *groups.world_;
  if (group_size == world.size()) return groups;
  const int group = world.rank() / group_size, place = world.rank() % group_size;
  DS_ASSIGN(groups.group_, world.Split("group", group, place));
  DS_ASSIGN(groups.peers_, world.Split("peers", place, group));
  return groups;
}

SliceRange RankGroups::Kept(Cut cut) const {
  if (cut == Cut::kNone) return {0, world_->size()};
  if (cut == Cut::kWorld) return {slice(), slice() + 1};
  const int each = world_->size() / group_size_, place = world_->rank() % group_size_;
  return {place * each, (place + 1) * each};
}

Status RankGroups::Widen(std::string_view what, Cut from, Cut to, int64_t slice_bytes,
                         std::byte* piece) const {
  const auto gather = [&](comm::Communicator& comm, SliceRange own, SliceRange all) {
    const size_t bytes = static_cast<size_t>(slice_bytes) * (own.end - own.begin);
    std::byte* start = piece + slice_bytes * (all.begin - Kept(to).begin);
    return comm.AllGather(what, {start + slice_bytes * (own.begin - all.begin), bytes},
                          {start, bytes * comm.size()});
  };
  if (from == Cut::kWorld && to < Cut::kWorld && peers_ != nullptr) {
    DS_TRY(gather(*peers_, Kept(Cut::kWorld), Kept(Cut::kGroup)));
  }
  if (from != Cut::kNone && to == Cut::kNone) {
    DS_TRY(gather(group(), Kept(Cut::kGroup), Kept(Cut::kNone)));
  }
  return {};
}

}  // namespace ds::zero
