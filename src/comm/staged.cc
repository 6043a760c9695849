// Collectives of ranks that are processes, as rounds of a Stage. The sums are those of threads, in
// the same order and to the same bits.
#include <algorithm>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/failpoint.h"
#include "comm/arguments.h"
#include "comm/stage.h"
#include "tensor/host_reduce.h"

namespace ds::comm {
namespace {

void Copy(const void* from, void* to, size_t bytes) {
  if (from != to && bytes > 0) std::memcpy(to, from, bytes);
}

// As Copy(), past the caches: a line that is written whole, and read by nobody soon, need not come
// from the cache of another core first. What it wrote is for others to see after Fence().
void CopyPast(const std::byte* from, std::byte* to, size_t bytes) {
#if defined(__SSE2__)
  if (reinterpret_cast<uintptr_t>(to) % sizeof(__m128i) == 0) {
    for (; bytes >= 64; bytes -= 64, from += 64, to += 64) {
      for (size_t at = 0; at < 64; at += sizeof(__m128i)) {
        const auto* lane = reinterpret_cast<const __m128i*>(from + at);
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), _mm_loadu_si128(lane));
      }
    }
  }
#endif
  Copy(from, to, bytes);
}
void Fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// The elements [from, end) of a buffer cut into slices of whole cache lines, one a rank, in bytes.
struct Slices {
  Slices(int64_t from, int64_t end, int ranks, int64_t width)
      : from(from),
        end(end),
        width(width),
        each(((end - from + ranks - 1) / ranks + 31) / 32 * 32) {}
  int64_t begin(int r) const { return std::min(end, from + r * each) * width; }
  int64_t bytes(int r) const { return begin(r + 1) - begin(r); }

  int64_t from, end, width, each;
};

class StagedRank final : public Communicator {
 public:
  explicit StagedRank(std::unique_ptr<Stage> stage) : stage_(std::move(stage)) {
    parts_.resize(size());
  }

  const char* backend() const override { return stage_->backend(); }
  int rank() const override { return stage_->rank(); }
  int size() const override { return stage_->size(); }
  device::SharedHeap* heap() const override { return stage_->heap(); }
  int local_size() const override { return stage_->local_size(); }

  Status AllGather(std::string_view what, std::span<const std::byte> send,
                   std::span<std::byte> recv) override {
    DS_FAILPOINT("comm.all_gather", number());
    DS_TRY(CheckAllGather(what, size(), send.size(), recv.size()));
    const Call call = {"all_gather", what, send.size()};
    if (send.empty()) return stage_->Meet(call);
    DS_ASSIGN(const bool shown, Show(call, send.data(), send.size()));
    if (shown) {
      TakeBlocks(0, send.size(), recv.data());
      return stage_->Part();
    }
    for (size_t at = 0; at < send.size(); at += stage_->room()) {
      const size_t count = std::min(stage_->room(), send.size() - at);
      Copy(send.data() + at, stage_->out(), count);
      Copy(send.data() + at, recv.data() + rank() * send.size() + at, count);
      DS_TRY(stage_->Swap(call, 0, count));
      for (int i = 1; i < size(); ++i) {
        const int r = (rank() + i) % size();
        Copy(stage_->in(r), recv.data() + r * send.size() + at, count);
      }
    }
    return {};
  }

  Status ReduceScatter(std::string_view what, DType dtype, float scale, const void* send,
                       void* recv, int64_t shard, std::span<const int> slice_of) override {
    DS_FAILPOINT("comm.reduce_scatter", number());
    DS_TRY(CheckSlices(what, size(), slice_of));
    const auto width = static_cast<int64_t>(DTypeBytes(dtype));
    const Call call = {"reduce_scatter", what, static_cast<size_t>(shard * width),
                       static_cast<int>(dtype), scale};
    if (shard == 0) return stage_->Meet(call);
    const auto slice = [&](int r, int64_t at) {
      const int64_t index = slice_of.empty() ? r : slice_of[r];
      return static_cast<const std::byte*>(send) + (index * shard + at) * width;
    };
    DS_ASSIGN(const bool shown, Show(call, send, static_cast<size_t>(shard * width) * size()));
    if (shown) {
      const auto offset = slice(rank(), 0) - static_cast<const std::byte*>(send);
      for (int r = 0; r < size(); ++r) parts_[r] = stage_->shown(r) + offset;
      ReduceInOrder(dtype, scale, parts_, shard, recv);
      return stage_->Part();
    }
    const int64_t most = block() / width;
    for (int64_t at = 0; at < shard; at += most) {
      const int64_t count = std::min(most, shard - at);
      for (int r = 0; r < size(); ++r) {
        if (r != rank()) Copy(slice(r, at), stage_->out() + r * block(), count * width);
      }
      DS_TRY(stage_->Swap(call, block(), count * width));
      Reduce(dtype, scale, slice(rank(), at), count, static_cast<std::byte*>(recv) + at * width);
    }
    return {};
  }

  Status AllReduce(std::string_view what, DType dtype, float scale, void* data,
                   int64_t n) override {
    DS_FAILPOINT("comm.all_reduce", number());
    const auto width = static_cast<int64_t>(DTypeBytes(dtype));
    const Call call = {"all_reduce", what, static_cast<size_t>(n * width), static_cast<int>(dtype),
                       scale};
    if (n == 0) return stage_->Meet(call);
    DS_ASSIGN(const bool shown, Show(call, data, call.bytes));
    if (shown) return AllReduceShown(dtype, scale, static_cast<std::byte*>(data), n);
    const int64_t most = block() / width * size();
    for (int64_t at = 0; at < n; at += most) {
      DS_TRY(AllReducePart(call, dtype, scale, static_cast<std::byte*>(data) + at * width,
                           std::min(most, n - at)));
    }
    return {};
  }

  Status AllReduce(std::string_view what, std::span<double> values, double scale) override {
    DS_FAILPOINT("comm.all_reduce", number());
    const Call call = {"all_reduce", what, values.size_bytes(), 0, scale};
    if (values.empty()) return stage_->Meet(call);
    const size_t most = stage_->room() / sizeof(double);
    for (size_t at = 0; at < values.size(); at += most) {
      const std::span<double> some = values.subspan(at, std::min(most, values.size() - at));
      Copy(some.data(), stage_->out(), some.size_bytes());
      DS_TRY(stage_->Swap(call, 0, some.size_bytes()));
      for (int r = 0; r < size(); ++r) {
        const auto* theirs = reinterpret_cast<const double*>(stage_->in(r));
        // The first as it is: 0.0 and -0.0 make 0.0.
        for (size_t i = 0; i < some.size(); ++i) some[i] = r == 0 ? theirs[i] : some[i] + theirs[i];
      }
      for (double& value : some) value *= scale;
    }
    return {};
  }

  Status Barrier(std::string_view what) override {
    DS_FAILPOINT("comm.barrier", number());
    return stage_->Meet({"barrier", what, 0});
  }

  Status Broadcast(std::string_view what, int root, std::span<std::byte> data) override {
    DS_FAILPOINT("comm.broadcast", number());
    DS_TRY(CheckRank("broadcast", what, "the root", root, size()));
    const Call call = {"broadcast", what, data.size(), root};
    if (data.empty()) return stage_->Meet(call);
    DS_ASSIGN(const bool shown, Show(call, data.data(), data.size(), root));
    if (shown) {
      Copy(stage_->shown(root), data.data(), rank() == root ? 0 : data.size());
      return stage_->Part();
    }
    for (size_t at = 0; at < data.size(); at += stage_->room()) {
      const size_t count = std::min(stage_->room(), data.size() - at);
      if (rank() == root) Copy(data.data() + at, stage_->out(), count);
      DS_TRY(stage_->Swap(call, 0, count, root));
      if (rank() != root) Copy(stage_->in(root), data.data() + at, count);
    }
    return {};
  }

  Status AllToAll(std::string_view what, std::span<const std::byte> send,
                  std::span<std::byte> recv) override {
    DS_FAILPOINT("comm.all_to_all", number());
    DS_TRY(CheckAllToAll(what, size(), send.size(), recv.size()));
    const Call call = {"all_to_all", what, send.size()};
    if (send.empty()) return stage_->Meet(call);
    const size_t each = send.size() / size();
    DS_ASSIGN(const bool shown, Show(call, send.data(), send.size()));
    if (shown) {
      TakeBlocks(rank() * each, each, recv.data());
      return stage_->Part();
    }
    Copy(send.data() + rank() * each, recv.data() + rank() * each, each);
    for (size_t at = 0; at < each; at += block()) {
      const size_t count = std::min<size_t>(block(), each - at);
      for (int r = 0; r < size(); ++r) {
        if (r != rank()) Copy(send.data() + r * each + at, stage_->out() + r * block(), count);
      }
      DS_TRY(stage_->Swap(call, block(), count));
      for (int r = 0; r < size(); ++r) {
        if (r != rank()) Copy(stage_->in(r), recv.data() + r * each + at, count);
      }
    }
    return {};
  }

  Status AllToAllV(std::string_view what, std::span<const std::byte> send,
                   std::span<const int64_t> send_bytes, std::span<std::byte> recv,
                   std::span<const int64_t> recv_bytes) override {
    DS_FAILPOINT("comm.all_to_all_v", number());
    DS_TRY(CheckBlocks(what, "sends", size(), send.size(), send_bytes));
    DS_TRY(CheckBlocks(what, "receives", size(), recv.size(), recv_bytes));
    const Call call = {"all_to_all_v", what, size() * sizeof(int64_t)};
    DS_ASSIGN(const int64_t longest, AgreeOnBlocks(call, send_bytes, recv_bytes));
    for (int64_t at = 0; at < longest; at += block()) {
      ForBlocks(send_bytes, at, [&](int r, int64_t offset, int64_t count) {
        Copy(send.data() + offset, stage_->out() + r * block(), count);
      });
      DS_TRY(stage_->Swap(call, block(), std::min(block(), longest - at)));
      ForBlocks(recv_bytes, at, [&](int r, int64_t offset, int64_t count) {
        Copy(stage_->in(r), recv.data() + offset, count);
      });
    }
    return {};
  }

  Status Send(std::string_view what, int to, std::span<const std::byte> data) override {
    DS_FAILPOINT("comm.send", number());
    DS_TRY(CheckPeer("send", what, to, rank(), size()));
    return stage_->Send(what, to, data);
  }
  Status Recv(std::string_view what, int from, std::span<std::byte> data) override {
    DS_FAILPOINT("comm.recv", number());
    DS_TRY(CheckPeer("recv", what, from, rank(), size()));
    return stage_->Recv(what, from, data);
  }

  Result<std::unique_ptr<Communicator>> Split(std::string_view what, int color, int key) override {
    DS_FAILPOINT("comm.split", number());
    DS_ASSIGN(auto part, stage_->Divide("split", what, {color, key}));
    return part == nullptr ? nullptr : CreateStaged(std::move(part));
  }
  Result<std::unique_ptr<Communicator>> Duplicate(std::string_view what) override {
    DS_FAILPOINT("comm.duplicate", number());
    DS_ASSIGN(auto twin, stage_->Divide("duplicate", what, {0, rank()}));
    return CreateStaged(std::move(twin));
  }
  void Abort(const Status& why) override { stage_->Abort(why); }

 private:
  static constexpr size_t kLeastShown = 64 << 10;
  // Of a buffer: the pieces of all ranks should stay in the last-level cache, and a meeting is not
  // to count against what is done between two.
  static constexpr int64_t kPiece = 1 << 20;
  // Of a slice, in bytes: whole elements of every type.
  static constexpr int64_t kStrip = 2048;
  // Of one rank, copied in turn with the same piece of the others.
  static constexpr size_t kTaken = 256 << 10;

  int number() const { return stage_->number(rank()); }
  // What one rank can lay out for each other one: whole cache lines.
  int64_t block() const { return static_cast<int64_t>(stage_->room()) / size() / 64 * 64; }

  // Whether all ranks can read what the others have where it lies; if so, they are in it until
  // Part(). Short messages are faster copied.
  Result<bool> Show(const Call& call, const void* data, size_t bytes, int only = -1) {
    if (stage_->heap() == nullptr || bytes < kLeastShown) return false;
    return stage_->Show(call, data, bytes, only);
  }

  // `bytes` at `offset` of what each rank shows, one behind the other in `to`. A piece of all
  // ranks, then the next: what one rank reads comes to another, which reads it too, out of the
  // cache.
  void TakeBlocks(size_t offset, size_t bytes, std::byte* to) const {
    for (size_t at = 0; at < bytes; at += kTaken) {
      for (int i = 0; i < size(); ++i) {
        const int r = (rank() + i) % size();
        Copy(stage_->shown(r) + offset + at, to + r * bytes + at, std::min(kTaken, bytes - at));
      }
    }
  }

  // In pieces that stay in the cache: each rank sums its slice of one into its own memory, all
  // meet, and each takes the other slices while it sums the next piece. Nobody writes to the memory
  // of another process, which may have given up and gone on.
  Status AllReduceShown(DType dtype, float scale, std::byte* data, int64_t n) {
    const auto width = static_cast<int64_t>(DTypeBytes(dtype));
    const auto piece = [&](int64_t from) {
      return Slices(from, std::min(n, from + kPiece / width), size(), width);
    };
    Slices summed = piece(0);
    SumAndTake(dtype, scale, summed, Slices(0, 0, size(), width), data);
    while (summed.end < n) {
      DS_TRY(stage_->Part(/*soon=*/true));
      const Slices next = piece(summed.end);
      SumAndTake(dtype, scale, next, summed, data);
      summed = next;
    }
    DS_TRY(stage_->Part(/*soon=*/true));
    SumAndTake(dtype, scale, Slices(n, n, size(), width), summed, data);
    return stage_->Part(/*soon=*/true);
  }

  // Sums this rank's slice of `piece`, and takes the others' slices of `summed`. In turn, strip by
  // strip: the one waits for memory, the other for the caches of the other cores.
  void SumAndTake(DType dtype, float scale, const Slices& piece, const Slices& summed,
                  std::byte* data) {
    const int64_t own = piece.begin(rank()), bytes = piece.bytes(rank());
    const int64_t longest = std::max(bytes, summed.each * summed.width);
    for (int64_t at = 0; at < longest; at += kStrip) {
      if (at < bytes) {
        for (int r = 0; r < size(); ++r) parts_[r] = stage_->shown(r) + own + at;
        ReduceInOrder(dtype, scale, parts_, std::min(kStrip, bytes - at) / piece.width,
                      data + own + at);
      }
      for (int i = 1; i < size(); ++i) {
        const int r = (rank() + i) % size();
        const int64_t begin = summed.begin(r) + at, count = std::min(kStrip, summed.bytes(r) - at);
        if (count > 0) CopyPast(stage_->shown(r) + begin, data + begin, count);
      }
    }
    Fence();
  }

  // The sum of `mine` and what the others gave, in rank order.
  void Reduce(DType dtype, float scale, const void* mine, int64_t n, void* out) {
    for (int r = 0; r < size(); ++r) parts_[r] = r == rank() ? mine : stage_->in(r);
    ReduceInOrder(dtype, scale, parts_, n, out);
  }

  // Each rank sums a slice, then gives the sum to all.
  Status AllReducePart(const Call& call, DType dtype, float scale, std::byte* data, int64_t n) {
    const auto width = static_cast<int64_t>(DTypeBytes(dtype));
    const int64_t each = std::min(((n + size() - 1) / size() + 31) / 32 * 32, block() / width);
    const auto begin = [&](int r) { return std::min(n, r * each) * width; };
    const auto bytes = [&](int r) { return begin(r + 1) - begin(r); };
    for (int r = 0; r < size(); ++r) {
      if (r != rank()) Copy(data + begin(r), stage_->out() + r * block(), bytes(r));
    }
    DS_TRY(stage_->Swap(call, block(), each * width));
    std::byte* mine = data + begin(rank());
    if (bytes(rank()) > 0) Reduce(dtype, scale, mine, bytes(rank()) / width, mine);
    Copy(mine, stage_->out(), bytes(rank()));
    DS_TRY(stage_->Swap(call, 0, each * width));
    for (int r = 0; r < size(); ++r) {
      if (r != rank()) Copy(stage_->in(r), data + begin(r), bytes(r));
    }
    return {};
  }

  // Everybody learns what everybody sends: the longest block, in bytes.
  Result<int64_t> AgreeOnBlocks(const Call& call, std::span<const int64_t> send_bytes,
                                std::span<const int64_t> recv_bytes) {
    Copy(send_bytes.data(), stage_->out(), send_bytes.size_bytes());
    DS_TRY(stage_->Swap(call, 0, send_bytes.size_bytes()));
    int64_t longest = 0;
    for (int r = 0; r < size(); ++r) {
      const auto* theirs = reinterpret_cast<const int64_t*>(stage_->in(r));
      if (theirs[rank()] != recv_bytes[r]) {
        const Status differ = BlocksDiffer(call.what, stage_->number(r), theirs[rank()],
                                           stage_->number(rank()), recv_bytes[r]);
        stage_->Break(differ);
        return differ;
      }
      longest = std::max(longest, *std::max_element(theirs, theirs + size()));
    }
    return longest;
  }

  // What is left of the blocks behind `at`, as far as one round takes it.
  template <typename Body>
  void ForBlocks(std::span<const int64_t> bytes, int64_t at, const Body& body) const {
    int64_t offset = 0;
    for (int r = 0; r < size(); ++r) {
      if (bytes[r] > at) body(r, offset + at, std::min(block(), bytes[r] - at));
      offset += bytes[r];
    }
  }

  const std::unique_ptr<Stage> stage_;
  std::vector<const void*> parts_;  // kept, so that collectives do not allocate
};

}  // namespace

std::unique_ptr<Communicator> CreateStaged(std::unique_ptr<Stage> stage) {
  return std::make_unique<StagedRank>(std::move(stage));
}

}  // namespace ds::comm
