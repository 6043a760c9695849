#include "zero/agreement.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace ds::zero {
namespace {

using Text = std::array<char, 384>;

template <typename T>
Result<std::vector<T>> GatherAll(comm::Communicator& comm, const std::vector<T>& mine) {
  std::vector<T> all(mine.size() * comm.size());
  DS_TRY(comm.AllGather("registration", std::as_bytes(std::span(mine)),
                        std::as_writable_bytes(std::span(all))));
  return all;
}

struct Summary {
  uint64_t count, digest;
};

Status NameDifference(comm::Communicator& comm, const std::vector<Declaration>& declarations,
                      size_t longest) {
  std::vector<uint64_t> digests(longest, 0);
  for (size_t i = 0; i < declarations.size(); ++i) digests[i] = declarations[i].digest;
  DS_ASSIGN(const auto all, GatherAll(comm, digests));
  size_t first = 0, other = 0;
  for (; first < longest && other == 0; ++first) {
    for (int r = 1; r < comm.size(); ++r) {
      if (other == 0 && all[r * longest + first] != all[first]) other = r;
    }
  }
  const size_t index = first - 1;
  std::vector<Text> mine(1);
  const std::string text =
      index < declarations.size() ? declarations[index].text : "nothing more";
  std::memcpy(mine[0].data(), text.data(), std::min(text.size(), mine[0].size() - 1));
  DS_ASSIGN(const auto texts, GatherAll(comm, mine));
  const std::string a = texts[0].data(), b = texts[other].data();
  if (a == b) {
    return Error(Code::kRankMismatch,
                 "parameter {} ({}): ranks 0 and {} gave different initial values", index, a,
                 other);
  }
  return Error(Code::kRankMismatch, "parameter {}: rank 0 registered {}, rank {} registered {}",
               index, a, other, b);
}

}  // namespace

Status Agree(comm::Communicator& comm, const std::vector<Declaration>& declarations) {
  std::vector<uint64_t> digests;
  for (const Declaration& d : declarations) digests.push_back(d.digest);
  const std::vector<Summary> mine = {
      {digests.size(), XXH3_64bits(digests.data(), digests.size() * sizeof(uint64_t))}};
  DS_ASSIGN(const auto all, GatherAll(comm, mine));
  size_t longest = 0;
  bool alike = true;  // compared with rank 0, not with this one: every rank must decide the same
  for (const Summary& s : all) {
    longest = std::max<size_t>(longest, s.count);
    alike = alike && s.count == all[0].count && s.digest == all[0].digest;
  }
  return alike ? Status() : NameDifference(comm, declarations, longest);
}

}  // namespace ds::zero
