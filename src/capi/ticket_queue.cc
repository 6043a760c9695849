#include "capi/ticket_queue.h"

#include <utility>

#include "capi/together.h"

namespace ds::capi {

Status TicketQueue::Do(Call call, ds_ticket* out_ticket) {
  if (out_ticket != nullptr) {
    return Together(comm_, [&] { return Begin(std::move(call), out_ticket); });
  }
  Drain();
  return Together(comm_, [&] { return call(comm_); });
}

Status TicketQueue::Begin(Call call, ds_ticket* out_ticket) {
  // Alone there is nobody to wait for, and a thread would only cost.
  if (!stream_) stream_.emplace(/*asynchronous=*/comm_.size() > 1);
  auto begun = std::make_unique<Begun>(Begun{this, std::move(call)});
  const ds_ticket ticket = given_ + 1;
  (void)stream_->Launch({.run = Run, .object = begun.get(), .argument = ticket, .memory = nullptr});
  (void)begun.release();  // Run() frees it
  given_ = ticket;
  *out_ticket = ticket;
  return {};
}

// The stream hears of no failure: it would drop what comes after, and so what that holds.
Status TicketQueue::Run(void* object, int64_t ticket, void*) {
  const std::unique_ptr<Begun> begun(static_cast<Begun*>(object));
  TicketQueue& queue = *begun->queue;
  if (queue.failed_.load() != 0) return {};
  Status status = Together(queue.comm_, [&] { return begun->call(queue.comm_); });
  if (status.ok()) return {};
  queue.failure_ = std::move(status);
  queue.failed_.store(ticket);
  return {};
}

void TicketQueue::Drain() {
  if (!idle()) (void)stream_->Wait(given_);
}

Status TicketQueue::Check(ds_ticket ticket) const {
  if (ticket > 0 && ticket <= given_) return {};
  return InvalidArgument("ticket is {}, {} were given out, from 1", ticket, given_);
}

Status TicketQueue::OutcomeOf(ds_ticket ticket) const {
  const ds_ticket failed = failed_.load();
  return failed != 0 && ticket >= failed ? failure_ : Status();
}

Status TicketQueue::Wait(ds_ticket ticket) {
  DS_TRY(Check(ticket));
  DS_TRY(stream_->Wait(ticket));
  return OutcomeOf(ticket);
}

Result<bool> TicketQueue::Test(ds_ticket ticket) {
  DS_TRY(Check(ticket));
  if (!stream_->Passed(ticket)) return false;
  DS_TRY(OutcomeOf(ticket));
  return true;
}

}  // namespace ds::capi
