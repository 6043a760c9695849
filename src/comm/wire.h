// Messages between the processes of a job, as the MPI module carries them: untyped, none blocks.
// Everything that waits here ends in time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "comm/mpi_module.h"

namespace ds::comm {

class Wire {
 public:
  static Result<std::shared_ptr<Wire>> Open(const ds_mpi_module& module, const void* mpi_comm,
                                            double timeout_seconds);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  int rank() const { return module_.rank(group_); }
  int size() const { return module_.size(group_); }
  double timeout_seconds() const { return timeout_seconds_; }

  // all[r] becomes rank r's `mine`: while the group is made, when nothing else is there to meet
  // over. `what` is for errors.
  template <typename T>
  Status ExchangeEach(std::string_view what, const T& mine, std::vector<T>& all) {
    std::vector<std::byte> bytes(sizeof(T) * size());
    DS_TRY(Exchange(what, &mine, sizeof mine, bytes.data()));
    all.resize(size());
    std::memcpy(static_cast<void*>(all.data()), bytes.data(), bytes.size());
    return {};
  }

  // Tags are below this, and several threads may use it.
  int tags() const { return module_.tags(group_); }
  bool serves_threads() const { return module_.threads(group_) != 0; }

  // The number of a group that rank 0 of it asks for: no other of this wire has it. From 1.
  uint64_t FreshContext() {
    return static_cast<uint64_t>(rank()) + static_cast<uint64_t>(size()) * ++contexts_;
  }

  // Starts a message. The bytes are to stay until it is over.
  Status Send(int to, int tag, const void* data, size_t bytes, void** request);
  Status Receive(int from, int tag, void* data, size_t bytes, void** request);
  // Whether it is over; it is null then.
  Result<bool> Test(void** request);
  // Whether it is gone; else MPI still uses its bytes.
  bool Cancel(void** request);
  // A copy goes out by itself.
  Status Post(int to, int tag, const void* data, size_t bytes);

  // From here on a rank may be missing: the end of the program does not wait for all.
  void SetUnhealthy() { healthy_ = false; }

 private:
  Wire(const ds_mpi_module& module, ds_mpi_group* group, double timeout_seconds)
      : module_(module), group_(group), timeout_seconds_(timeout_seconds) {}

  struct Pending;
  Status CannotSend(int to, size_t bytes);
  Status Exchange(std::string_view what, const void* mine, size_t bytes, void* all);
  Status ExchangeIn(std::string_view what, size_t bytes, std::vector<std::byte>& buffer);
  Status Await(std::string_view what, std::vector<Pending>& pending);

  struct Posted {
    void* request = nullptr;  // null: free
    std::vector<std::byte> bytes;
  };

  const ds_mpi_module& module_;
  ds_mpi_group* const group_;
  const double timeout_seconds_;
  std::atomic<bool> healthy_ = true;
  std::atomic<uint64_t> contexts_ = 0;
  std::mutex mutex_;  // guards what follows
  std::deque<Posted> posted_;
};

}  // namespace ds::comm
