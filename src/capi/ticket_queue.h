// The collectives of one ds_comm in the order of its calls: those without a ticket on the caller's
// thread, once the others before them are done; those with one on a stream, which is made with the
// first of them. Used by one thread at a time.
#pragma once

#include <deepspeed/ds_comm.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "base/status.h"
#include "comm/communicator.h"
#include "device/stream.h"

namespace ds::capi {

class TicketQueue {
 public:
  using Call = std::function<Status(comm::Communicator&)>;

  // `comm` outlives it.
  explicit TicketQueue(comm::Communicator& comm) : comm_(comm) {}
  // Finishes what is under way.
  ~TicketQueue() = default;
  TicketQueue(const TicketQueue&) = delete;
  TicketQueue& operator=(const TicketQueue&) = delete;

  // Runs `call`, or begins it where there is a place for its ticket. What fails there is told to
  // the peers: they would wait for this rank.
  Status Do(Call call, ds_ticket* out_ticket);
  // Until nothing is under way.
  void Drain();
  // How the call ended.
  Status Wait(ds_ticket ticket);
  Result<bool> Test(ds_ticket ticket);
  bool idle() const { return !stream_ || stream_->Passed(given_); }

 private:
  struct Begun {
    TicketQueue* queue;
    Call call;
  };

  Status Begin(Call call, ds_ticket* out_ticket);
  Status Check(ds_ticket ticket) const;
  Status OutcomeOf(ds_ticket ticket) const;
  static Status Run(void* begun, int64_t ticket, void*);

  comm::Communicator& comm_;
  ds_ticket given_ = 0;
  // Of the first call that failed. The status is written before the ticket, and once.
  Status failure_;
  std::atomic<ds_ticket> failed_ = 0;
  std::optional<device::Stream> stream_;  // last: its thread ends before the rest does
};

}  // namespace ds::capi
