#include "base/task_pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/host.h"

namespace ds {
namespace {

using Body = FunctionRef<void(int64_t, int)>;

// A sleeping hand-off costs about 60 us against half of one spinning.
constexpr auto kSpin = std::chrono::microseconds(60);
constexpr int kSlots = 64;                // jobs at once that workers help with
constexpr uint64_t kClosed = 0xFFFFFFFF;  // a next tile that no job has

inline void Pause() { __builtin_ia32_pause(); }

// The tiles of a job in equal parts, one behind the other: a lane begins with the part that is its
// own, then helps with the others. Operators that follow one another cut the same rows alike, so a
// core mostly finds in its caches what it wrote there; what another core wrote comes at a third of
// the rate, or less where the two share no cache.
constexpr int kParts = 16;

struct alignas(64) Part {
  std::atomic<uint64_t> claim = kClosed;  // generation << 32 | next tile, or kClosed between jobs
  std::atomic<uint32_t> end = 0;
};

// Where a job lies while it runs. Slots are never freed, and a claim names the job's generation, so
// a late worker that still looks at a finished job finds nothing to take; the caller waits for
// tiles, never for workers.
struct Slot {
  std::atomic<bool> taken = false;
  std::atomic<const Body*> body = nullptr;
  std::array<Part, kParts> parts;
  alignas(64) std::atomic<uint32_t> done = 0;
  std::atomic<bool> threw = false;
  std::exception_ptr thrown;  // by the first tile that did: written before that one is done

  void Open(const Body& run, uint32_t tiles, int count) {
    done.store(0, std::memory_order_relaxed);
    body.store(&run, std::memory_order_relaxed);
    // The last first, so that a worker that looks just now finds its own before the caller's.
    for (int i = count; i-- > 0;) {
      const auto first = static_cast<uint32_t>(uint64_t{tiles} * i / count);
      parts[i].end.store(static_cast<uint32_t>(uint64_t{tiles} * (i + 1) / count),
                         std::memory_order_relaxed);
      const uint64_t generation = (parts[i].claim.load(std::memory_order_relaxed) >> 32) + 1;
      parts[i].claim.store(generation << 32 | first, std::memory_order_release);
    }
  }
  void Close(int count) {
    for (int i = 0; i < count; ++i) {
      const uint64_t claim = parts[i].claim.load(std::memory_order_relaxed);
      parts[i].claim.store(claim | kClosed, std::memory_order_release);
    }
  }

  // Runs one tile of the part, if one is left.
  bool RunOne(Part& part, int lane) {
    uint64_t seen = part.claim.load(std::memory_order_acquire);
    for (;;) {
      const Body* run = body.load(std::memory_order_relaxed);
      const auto tile = static_cast<uint32_t>(seen);
      if (tile >= part.end.load(std::memory_order_relaxed)) return false;
      if (part.claim.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) {
        try {
          (*run)(tile, lane);  // the job lives until this tile is done
        } catch (...) {
          if (!threw.exchange(true)) thrown = std::current_exception();
        }
        done.fetch_add(1, std::memory_order_release);
        return true;
      }
    }
  }
  // ... of the lane's own part, or else of another.
  bool RunOne(int lane, int count) {
    for (int i = 0; i < count; ++i) {
      if (RunOne(parts[(lane + i) % count], lane)) return true;
    }
    return false;
  }
};

}  // namespace

struct TaskPool::Impl {
  explicit Impl(int threads) : threads(threads), parts(std::min(threads, kParts)) {
    spins = threads <= UsableCores();
    try {
      for (int lane = 1; lane < threads; ++lane) {
        workers.emplace_back([this, lane] { Serve(lane); });
      }
    } catch (...) {
      End();  // those that did start
      throw;
    }
  }

  ~Impl() { End(); }

  void End() {
    {
      const std::lock_guard lock(mutex);
      ending = true;
      ++epoch;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  Slot* TakeSlot() {
    for (Slot& slot : slots) {
      if (!slot.taken.load(std::memory_order_relaxed) &&
          !slot.taken.exchange(true, std::memory_order_acquire)) {
        return &slot;
      }
    }
    return nullptr;
  }

  void Announce() {
    ++epoch;
    if (sleepers.load() == 0) return;
    const std::lock_guard lock(mutex);
    wake.notify_all();
  }

  // One tile of each job in turn: ranks that share the pool get equal help.
  bool HelpAll(int lane) {
    bool helped = false;
    for (Slot& slot : slots) {
      if (slot.taken.load(std::memory_order_relaxed)) helped |= slot.RunOne(lane, parts);
    }
    return helped;
  }

  void Serve(int lane) {
    for (;;) {
      const uint64_t seen = epoch.load();
      while (HelpAll(lane)) {
      }
      const auto end = std::chrono::steady_clock::now() + kSpin;
      while (epoch.load() == seen && std::chrono::steady_clock::now() < end) {
        spins ? Pause() : std::this_thread::yield();
      }
      if (epoch.load() != seen && !ending) continue;
      std::unique_lock lock(mutex);
      ++sleepers;
      wake.wait(lock, [&] { return epoch.load() != seen || ending; });
      --sleepers;
      if (ending) return;
    }
  }

  const int threads, parts;
  bool spins = true;
  std::array<Slot, kSlots> slots;
  std::atomic<uint64_t> epoch = 0;  // grows with every job
  std::atomic<int> sleepers = 0;
  std::atomic<bool> ending = false;
  std::mutex mutex;  // for sleeping alone
  std::condition_variable wake;
  std::vector<std::thread> workers;
};

TaskPool::TaskPool(int threads) : impl_(std::make_unique<Impl>(threads < 1 ? 1 : threads)) {}

TaskPool::~TaskPool() = default;

int TaskPool::threads() const { return impl_->threads; }

void TaskPool::Run(int64_t tiles, Body body) {
  constexpr int64_t kMostTiles = int64_t{1} << 31;
  Slot* slot = tiles > 1 && tiles < kMostTiles && impl_->threads > 1 ? impl_->TakeSlot() : nullptr;
  if (slot == nullptr) {
    for (int64_t tile = 0; tile < tiles; ++tile) body(tile, 0);
    return;
  }
  slot->Open(body, static_cast<uint32_t>(tiles), impl_->parts);
  impl_->Announce();
  while (slot->RunOne(0, impl_->parts)) {
  }
  for (int spin = 0; slot->done.load(std::memory_order_acquire) != tiles; ++spin) {
    impl_->spins&& spin < 20000 ? Pause() : std::this_thread::yield();
  }
  slot->Close(impl_->parts);
  const std::exception_ptr thrown = std::exchange(slot->thrown, nullptr);
  slot->threw.store(false, std::memory_order_relaxed);
  slot->taken.store(false, std::memory_order_release);
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

}  // namespace ds
