// How ranks that are processes pass bytes: each lays out what it gives, all meet, and each finds
// what the others laid out for it. Every collective is some rounds of this (staged.cc).
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/status.h"
#include "comm/communicator.h"
#include "comm/rendezvous.h"
#include "comm/split.h"

namespace ds::comm {

// What a rank is in, as its peers are to hear of it (see Post).
struct Call {
  const char* op;
  std::string_view what;
  size_t bytes;
  int detail = 0;
  double scale = 1;
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual const char* backend() const = 0;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_size() const { return size(); }
  // As errors call it.
  virtual int number(int rank) const = 0;

  // Bytes that a rank can lay out in one round; the same for all.
  virtual size_t room() const = 0;
  // Where this rank lays out its part of the next round.
  virtual std::byte* out() = 0;
  // Rank r is given `bytes` from out() + r * stride of every rank, or of rank `only` alone.
  virtual Status Swap(const Call& call, size_t stride, size_t bytes, int only = -1) = 0;
  // What rank r gave this one, until the next round but one is laid out.
  virtual const std::byte* in(int r) const = 0;
  // Without bytes.
  virtual Status Meet(const Call& call) = 0;

  // Memory that peers can read where it lies, on all ranks or on none.
  virtual device::SharedHeap* heap() const { return nullptr; }
  // Where there is such memory: meets with `data`, which call.bytes are in. Whether all ranks have
  // theirs in it, or `only` that one. Where they have, peers read it through shown() until Part().
  virtual Result<bool> Show(const Call& call, const void* data, size_t bytes, int only = -1);
  virtual const std::byte* shown(int) const { return nullptr; }
  // All ranks have come here: what they wrote before can be read, what they read may change.
  // `soon`: they are in the same loop, a piece of work behind at most.
  virtual Status Part(bool /*soon*/ = false) { return {}; }

  virtual Status Send(std::string_view what, int to, std::span<const std::byte> data) = 0;
  virtual Status Recv(std::string_view what, int from, std::span<std::byte> data) = 0;
  // Null where the color is negative.
  virtual Result<std::unique_ptr<Stage>> Divide(const char* op, std::string_view what,
                                                ColorKey mine) = 0;
  // This group alone.
  virtual void Break(const Status& why) = 0;
  // And all that have its origin.
  virtual void Abort(const Status& why) = 0;
};

inline Result<bool> Stage::Show(const Call&, const void*, size_t, int) { return false; }

// The collectives of one rank over it.
std::unique_ptr<Communicator> CreateStaged(std::unique_ptr<Stage> stage);

}  // namespace ds::comm
