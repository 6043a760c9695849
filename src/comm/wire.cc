#include "comm/wire.h"

#include <list>
#include <mutex>
#include <thread>
#include <utility>

namespace ds::comm {

Result<std::shared_ptr<Wire>> Wire::Open(const ds_mpi_module& module, const void* mpi_comm,
                                         double timeout_seconds) {
  ds_mpi_group* group = nullptr;
  char why[512] = "";
  if (module.open(mpi_comm, timeout_seconds, &group, why, sizeof why) != 0) {
    return Error(Code::kComm, "the MPI group cannot be made: {}", why);
  }
  return std::shared_ptr<Wire>(new Wire(module, group, timeout_seconds));
}

// What was posted and not taken yet may still be read by MPI: it stays.
Wire::~Wire() {
  bool all_over = true;
  for (Posted& posted : posted_) {
    if (posted.request != nullptr && module_.test(&posted.request) == 0) all_over = false;
  }
  if (!all_over) new std::deque<Posted>(std::move(posted_));
  module_.close(group_, healthy_ ? 1 : 0);
}

Status Wire::Send(int to, int tag, const void* data, size_t bytes, void** request) {
  const std::lock_guard lock(mutex_);
  if (module_.send(group_, to, tag, data, bytes, request) == 0) return {};
  return CannotSend(to, bytes);
}

Status Wire::CannotSend(int to, size_t bytes) {
  SetUnhealthy();
  return Error(Code::kComm, "rank {}: MPI cannot send {} bytes to rank {}", rank(), bytes, to);
}

Status Wire::Receive(int from, int tag, void* data, size_t bytes, void** request) {
  const std::lock_guard lock(mutex_);
  if (module_.receive(group_, from, tag, data, bytes, request) == 0) return {};
  SetUnhealthy();
  return Error(Code::kComm, "rank {}: MPI cannot receive {} bytes from rank {}", rank(), bytes,
               from);
}

Result<bool> Wire::Test(void** request) {
  const std::lock_guard lock(mutex_);
  const int32_t state = module_.test(request);
  if (state >= 0) return state == 1;
  SetUnhealthy();
  return Error(Code::kComm, "rank {}: MPI failed in a message", rank());
}

bool Wire::Cancel(void** request) {
  const std::lock_guard lock(mutex_);
  return module_.cancel(request) == 1;
}

Status Wire::Post(int to, int tag, const void* data, size_t bytes) {
  const std::lock_guard lock(mutex_);
  Posted* place = nullptr;
  for (Posted& old : posted_) {
    if (old.request != nullptr && module_.test(&old.request) == 0) continue;
    if (place == nullptr) place = &old;
  }
  if (place == nullptr) place = &posted_.emplace_back();
  const auto* begin = static_cast<const std::byte*>(data);
  place->bytes.assign(begin, begin + bytes);
  if (module_.send(group_, to, tag, place->bytes.data(), bytes, &place->request) == 0) return {};
  place->request = nullptr;
  return CannotSend(to, bytes);
}

struct Wire::Pending {
  int peer;
  void* request;
};

namespace {

// Memory of messages that were given up: MPI may write to it as long as the program lives.
void KeepForever(std::vector<std::byte> memory) {
  static std::mutex mutex;
  static auto* const kept = new std::list<std::vector<std::byte>>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(memory));
}

}  // namespace

// Rank 0 collects and hands the whole out: 2 messages a rank, and it knows who is missing.
Status Wire::Exchange(std::string_view what, const void* mine, size_t bytes, void* all) {
  // Not the caller's: after a failure MPI may still hold it.
  std::vector<std::byte> buffer(bytes * static_cast<size_t>(size()));
  std::memcpy(buffer.data() + rank() * bytes, mine, bytes);
  Status status = ExchangeIn(what, bytes, buffer);
  if (status.ok()) {
    std::memcpy(all, buffer.data(), buffer.size());
  } else {
    KeepForever(std::move(buffer));
  }
  return status;
}

Status Wire::ExchangeIn(std::string_view what, size_t bytes, std::vector<std::byte>& buffer) {
  constexpr int kTag = 0;
  const size_t total = buffer.size();
  std::vector<Pending> pending;
  const auto send = [&](int to, size_t at, size_t count) {
    Pending& p = pending.emplace_back(Pending{to, nullptr});
    return Send(to, kTag, buffer.data() + at, count, &p.request);
  };
  const auto receive = [&](int from, size_t at, size_t count) {
    Pending& p = pending.emplace_back(Pending{from, nullptr});
    return Receive(from, kTag, buffer.data() + at, count, &p.request);
  };
  if (rank() == 0) {
    for (int r = 1; r < size(); ++r) DS_TRY(receive(r, r * bytes, bytes));
    DS_TRY(Await(what, pending));
    for (int r = 1; r < size(); ++r) DS_TRY(send(r, 0, total));
  } else {
    DS_TRY(send(0, rank() * bytes, bytes));
    DS_TRY(Await(what, pending));
    DS_TRY(receive(0, 0, total));
  }
  return Await(what, pending);
}

Status Wire::Await(std::string_view what, std::vector<Pending>& pending) {
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_seconds_);
  while (!pending.empty()) {
    for (size_t i = 0; i < pending.size();) {
      const int32_t state = module_.test(&pending[i].request);
      if (state < 0) {
        healthy_ = false;
        return Error(Code::kComm, "rank {}: MPI failed in a message with rank {} ({})", rank(),
                     pending[i].peer, what);
      }
      if (state == 1) pending.erase(pending.begin() + static_cast<ptrdiff_t>(i));
      if (state == 0) ++i;
    }
    if (pending.empty()) break;
    if (std::chrono::steady_clock::now() >= end) {
      healthy_ = false;
      std::string names;
      for (const Pending& p : pending)
        names += fmt::format("{}rank {}", names.empty() ? "" : ", ", p.peer);
      return Error(Code::kTimeout,
                   "timed out after {:g} s: rank {} makes a group ({}) and waits for {}",
                   timeout_seconds_, rank(), what, names);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return {};
}

}  // namespace ds::comm
