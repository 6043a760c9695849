// Ranks that are threads of one process: a peer's memory is read where it lies, in rank order.
#include "comm/threads.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/failpoint.h"
#include "comm/arguments.h"
#include "comm/split.h"
#include "tensor/host_reduce.h"

namespace ds::comm {
namespace {

class ThreadRank final : public Communicator {
 public:
  ThreadRank(std::shared_ptr<Fate> fate, std::shared_ptr<Rendezvous> place, int rank,
             const Options& options)
      : fate_(std::move(fate)), place_(std::move(place)), rank_(rank), options_(options) {
    parts_.reserve(place_->size());
  }
  ~ThreadRank() override { place_->Leave(rank_); }

  const char* backend() const override { return "threads"; }
  int rank() const override { return rank_; }
  int size() const override { return place_->size(); }

  Status AllGather(std::string_view what, std::span<const std::byte> send,
                   std::span<std::byte> recv) override {
    DS_FAILPOINT("comm.all_gather", place_->number(rank_));
    DS_TRY(CheckAllGather(what, size(), send.size(), recv.size()));
    DS_TRY(place_->Meet(rank_, "all_gather", what, send.size(), send.data()));
    for (int i = 0; i < size(); ++i) {
      const int r = (rank_ + i) % size();  // each starts elsewhere: less pull on one memory
      Copy(place_->post(r).data, recv.data() + r * send.size(), send.size());
    }
    return place_->Part(rank_);
  }

  Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                       void* recv, int64_t shard, std::span<const int> slice_of) override {
    DS_FAILPOINT("comm.reduce_scatter", place_->number(rank_));
    DS_TRY(CheckSlices(what, size(), slice_of));
    const size_t shard_bytes = shard * DTypeBytes(dtype);
    DS_TRY(place_->Meet(rank_, "reduce_scatter", what, shard_bytes, send, Detail(dtype), scale));
    const int slice = slice_of.empty() ? rank_ : slice_of[rank_];
    PointAt(slice * shard_bytes);
    ReduceInOrder(dtype, scale, parts_, shard, recv);
    return place_->Part(rank_);
  }

  // Each rank sums its slice and leaves the sum in everybody's memory while it is in the cache:
  // nobody else touches that slice between the two meetings.
  Status AllReduce(std::string_view what, DType dtype, float scale, void* data,
                   int64_t n) override {
    DS_FAILPOINT("comm.all_reduce", place_->number(rank_));
    const size_t width = DTypeBytes(dtype);
    DS_TRY(place_->Meet(rank_, "all_reduce", what, n * width, data, Detail(dtype), scale));
    const int64_t each = SliceOf(n, size());
    const int64_t end = std::min(n, (rank_ + 1) * each);
    for (int64_t at = std::min(n, rank_ * each); at < end; at += kBlock) {
      const int64_t count = std::min(kBlock, end - at);
      PointAt(at * width);
      void* mine = static_cast<std::byte*>(data) + at * width;
      ReduceInOrder(dtype, scale, parts_, count, mine);
      for (const void* theirs : parts_) Copy(mine, const_cast<void*>(theirs), count * width);
    }
    return place_->Part(rank_);
  }

  Status AllReduce(std::string_view what, std::span<double> values, double scale) override {
    DS_FAILPOINT("comm.all_reduce", place_->number(rank_));
    sums_.assign(values.size(), 0.0);
    DS_TRY(place_->Meet(rank_, "all_reduce", what, values.size_bytes(), values.data(), 0, scale));
    for (int r = 0; r < size(); ++r) {
      const double* theirs = static_cast<const double*>(place_->post(r).data);
      // The first as it is: 0.0 and -0.0 make 0.0.
      for (size_t i = 0; i < sums_.size(); ++i)
        sums_[i] = r == 0 ? theirs[i] : sums_[i] + theirs[i];
    }
    for (double& sum : sums_) sum *= scale;
    DS_TRY(place_->Part(rank_));
    std::copy(sums_.begin(), sums_.end(), values.begin());
    return {};
  }

  Status Barrier(std::string_view what) override {
    DS_FAILPOINT("comm.barrier", place_->number(rank_));
    return place_->Meet(rank_, "barrier", what, 0, nullptr);
  }

  Status Broadcast(std::string_view what, int root, std::span<std::byte> data) override {
    DS_FAILPOINT("comm.broadcast", place_->number(rank_));
    DS_TRY(CheckRank("broadcast", what, "the root", root, size()));
    DS_TRY(place_->Meet(rank_, "broadcast", what, data.size(), data.data(), root));
    if (data.empty()) return {};
    Copy(place_->post(root).data, data.data(), data.size());
    return place_->Part(rank_);
  }

  Status AllToAll(std::string_view what, std::span<const std::byte> send,
                  std::span<std::byte> recv) override {
    DS_FAILPOINT("comm.all_to_all", place_->number(rank_));
    DS_TRY(CheckAllToAll(what, size(), send.size(), recv.size()));
    DS_TRY(place_->Meet(rank_, "all_to_all", what, send.size(), send.data()));
    if (send.empty()) return {};
    const size_t block = send.size() / size();
    for (int i = 0; i < size(); ++i) {
      const int r = (rank_ + i) % size();
      Copy(static_cast<const std::byte*>(place_->post(r).data) + rank_ * block,
           recv.data() + r * block, block);
    }
    return place_->Part(rank_);
  }

  Status AllToAllV(std::string_view what, std::span<const std::byte> send,
                   std::span<const int64_t> send_bytes, std::span<std::byte> recv,
                   std::span<const int64_t> recv_bytes) override {
    DS_FAILPOINT("comm.all_to_all_v", place_->number(rank_));
    DS_TRY(CheckBlocks(what, "sends", size(), send.size(), send_bytes));
    DS_TRY(CheckBlocks(what, "receives", size(), recv.size(), recv_bytes));
    const Blocks mine = {send.data(), send_bytes};
    DS_TRY(place_->Meet(rank_, "all_to_all_v", what, sizeof mine, &mine));
    std::byte* to = recv.data();
    Status differ;
    for (int r = 0; r < size() && differ.ok(); ++r) {
      const auto& theirs = *static_cast<const Blocks*>(place_->post(r).data);
      const int64_t bytes = theirs.bytes[rank_];
      if (bytes != recv_bytes[r]) {
        differ = BlocksDiffer(what, place_->number(r), bytes, place_->number(rank_), recv_bytes[r]);
        place_->Abort(differ);
      } else {
        Copy(theirs.data +
                 std::accumulate(theirs.bytes.begin(), theirs.bytes.begin() + rank_, int64_t{0}),
             to, bytes);
        to += bytes;
      }
    }
    const Status status = place_->Part(rank_);
    return differ.ok() ? status : differ;
  }

  Status Send(std::string_view what, int to, std::span<const std::byte> data) override {
    DS_FAILPOINT("comm.send", place_->number(rank_));
    DS_TRY(CheckPeer("send", what, to, rank_, size()));
    return place_->Hand(rank_, to, what, data.size(), data.data());
  }

  Status Recv(std::string_view what, int from, std::span<std::byte> data) override {
    DS_FAILPOINT("comm.recv", place_->number(rank_));
    DS_TRY(CheckPeer("recv", what, from, rank_, size()));
    return place_->Take(rank_, from, what, data.size(),
                        [&](const void* theirs) { Copy(theirs, data.data(), data.size()); });
  }

  Result<std::unique_ptr<Communicator>> Split(std::string_view what, int color, int key) override {
    DS_FAILPOINT("comm.split", place_->number(rank_));
    return Divide("split", what, {color, key});
  }

  Result<std::unique_ptr<Communicator>> Duplicate(std::string_view what) override {
    DS_FAILPOINT("comm.duplicate", place_->number(rank_));
    return Divide("duplicate", what, {0, rank_});
  }

  void Abort(const Status& why) override { fate_->Abort(place_->number(rank_), why); }

 private:
  // What a rank posts for all_to_all_v.
  struct Blocks {
    const std::byte* data;
    std::span<const int64_t> bytes;
  };

  // Long enough to be worth a pass over the ranks, short enough to stay in the first-level cache.
  static constexpr int64_t kBlock = 2048;

  static int Detail(DType dtype) { return static_cast<int>(dtype); }
  // Whole cache lines, so that no two ranks write to one.
  static int64_t SliceOf(int64_t n, int ranks) { return ((n + ranks - 1) / ranks + 31) / 32 * 32; }
  static void Copy(const void* from, void* to, size_t bytes) {
    if (from != to && bytes > 0) std::memcpy(to, from, bytes);
  }
  // parts_: where the memory that each rank posted has this offset.
  void PointAt(size_t offset) {
    parts_.clear();
    for (int r = 0; r < size(); ++r) {
      parts_.push_back(static_cast<const std::byte*>(place_->post(r).data) + offset);
    }
  }

  // Two rounds: who belongs together, then the meeting place that the first of them made.
  Result<std::unique_ptr<Communicator>> Divide(const char* op, std::string_view what,
                                               ColorKey mine) {
    std::vector<ColorKey> all(size());
    // One byte, so that these meetings have readers.
    DS_TRY(place_->Meet(rank_, op, what, 1, &mine));
    for (int r = 0; r < size(); ++r) all[r] = *static_cast<const ColorKey*>(place_->post(r).data);
    DS_TRY(place_->Part(rank_));
    const std::vector<int> members = MembersWith(all, rank_);
    std::shared_ptr<Rendezvous> place;
    if (members[0] == rank_ && mine.color >= 0) place = CreatePlace(members);
    const std::shared_ptr<Rendezvous> offered = place;  // stays as it is while others read it
    DS_TRY(place_->Meet(rank_, op, what, 1, &offered));
    place = *static_cast<const std::shared_ptr<Rendezvous>*>(place_->post(members[0]).data);
    DS_TRY(place_->Part(rank_));
    if (place == nullptr) return std::unique_ptr<Communicator>();
    const auto rank =
        static_cast<int>(std::find(members.begin(), members.end(), rank_) - members.begin());
    return std::unique_ptr<Communicator>(
        std::make_unique<ThreadRank>(fate_, std::move(place), rank, options_));
  }

  std::shared_ptr<Rendezvous> CreatePlace(const std::vector<int>& members) {
    auto place = std::make_shared<Rendezvous>(
        static_cast<int>(members.size()), std::chrono::duration<double>(options_.timeout_seconds),
        place_);
    for (size_t i = 0; i < members.size(); ++i) {
      place->set_number(static_cast<int>(i), place_->number(members[i]));
    }
    fate_->Add(place);
    return place;
  }

  const std::shared_ptr<Fate> fate_;
  const std::shared_ptr<Rendezvous> place_;
  const int rank_;
  const Options options_;
  // Kept, so that collectives do not allocate: least of all while they read what peers posted.
  std::vector<const void*> parts_;
  std::vector<double> sums_;
};

}  // namespace

Result<std::vector<std::unique_ptr<Communicator>>> CreateThreadRanks(
    int size, const Options& options, const std::shared_ptr<Fate>& fate) {
  if (size < 1 || size > 1024) return InvalidArgument("world size is {}, not in 1..1024", size);
  DS_TRY(CheckTimeout(options.timeout_seconds));
  std::vector<std::unique_ptr<Communicator>> ranks;
  const auto place = std::make_shared<Rendezvous>(
      size, std::chrono::duration<double>(options.timeout_seconds), nullptr);
  fate->Add(place);
  for (int r = 0; r < size; ++r) {
    ranks.push_back(std::make_unique<ThreadRank>(fate, place, r, options));
  }
  return ranks;
}

}  // namespace ds::comm
