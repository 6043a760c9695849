// What a collective checks before it meets anyone: the same words on every back end.
#pragma once

#include <bitset>
#include <span>
#include <string_view>

#include "base/status.h"

namespace ds::comm {

inline Status CheckTimeout(double seconds) {
  if (seconds > 0 && seconds <= 1e6) return {};
  return InvalidArgument("timeout is {:g} s, not in (0, 1e6]", seconds);
}

inline Status CheckAllGather(std::string_view what, int size, size_t send, size_t recv) {
  if (recv == send * static_cast<size_t>(size)) return {};
  return InvalidArgument("all_gather({}): {} ranks send {} bytes, {} are received", what, size,
                         send, recv);
}

// That it is a permutation of the ranks, or empty.
inline Status CheckSlices(std::string_view what, int size, std::span<const int> slice_of) {
  if (slice_of.empty()) return {};
  constexpr int kMost = 4096;
  if (slice_of.size() != static_cast<size_t>(size) || size > kMost) {
    return InvalidArgument("reduce_scatter({}): slices of {} ranks are given, for {} ranks", what,
                           slice_of.size(), size);
  }
  std::bitset<kMost> taken;
  for (const int slice : slice_of) {
    if (slice < 0 || slice >= size || taken[slice]) {
      return InvalidArgument("reduce_scatter({}): slice {} is given {}, of {} slices", what, slice,
                             slice < 0 || slice >= size ? "to a rank" : "to two ranks", size);
    }
    taken[slice] = true;
  }
  return {};
}

inline Status CheckRank(const char* op, std::string_view what, const char* role, int rank,
                        int size) {
  if (rank >= 0 && rank < size) return {};
  return InvalidArgument("{}({}): {} is rank {}, of {} ranks", op, what, role, rank, size);
}

inline Status CheckPeer(const char* op, std::string_view what, int peer, int rank, int size) {
  DS_TRY(CheckRank(op, what, "the peer", peer, size));
  if (peer != rank) return {};
  return InvalidArgument("{}({}): rank {} is its own peer", op, what, rank);
}

inline Status CheckAllToAll(std::string_view what, int size, size_t send, size_t recv) {
  if (send == recv && send % static_cast<size_t>(size) == 0) return {};
  return InvalidArgument("all_to_all({}): sends {} bytes, receives {}, in {} equal blocks", what,
                         send, recv, size);
}

inline Status CheckBlocks(std::string_view what, const char* verb, int size, size_t total,
                          std::span<const int64_t> bytes) {
  if (bytes.size() != static_cast<size_t>(size)) {
    return InvalidArgument("all_to_all_v({}): {} blocks of {} ranks, for {} ranks", what, verb,
                           bytes.size(), size);
  }
  int64_t sum = 0;
  for (int r = 0; r < size; ++r) {
    if (bytes[r] < 0) {
      return InvalidArgument("all_to_all_v({}): {} {} bytes for rank {}", what, verb, bytes[r], r);
    }
    sum += bytes[r];
  }
  if (static_cast<size_t>(sum) == total) return {};
  return InvalidArgument("all_to_all_v({}): {} {} bytes, and its blocks have {}", what, verb, total,
                         sum);
}

// What rank `from` sends to rank `to`, and what that one waits for.
inline Status BlocksDiffer(std::string_view what, int from, int64_t sent, int to, int64_t wanted) {
  return Error(Code::kRankMismatch,
               "ranks disagree in all_to_all_v({}): rank {} sends {} bytes to rank {}, which "
               "receives {}",
               what, from, sent, to, wanted);
}

}  // namespace ds::comm
