#include "zero/agreement.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

namespace ds::zero {
namespace {

using Text = std::array<char, 1280>;  // three names of 255 bytes, a shape of 8 extents

template <typename T>
Result<std::vector<T>> GatherAll(comm::Communicator& comm, const char* what,
                                 const std::vector<T>& mine) {
  std::vector<T> all(mine.size() * comm.size());
  DS_TRY(
      comm.AllGather(what, std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all))));
  return all;
}

struct Summary {
  uint64_t count, digest;
};

struct Difference {
  size_t index;
  int rank;                 // the first that differs from rank 0
  std::string zero, other;  // what either declared
};

Result<std::optional<Difference>> FindDifference(comm::Communicator& comm, const char* what,
                                                 const std::vector<Declaration>& declarations,
                                                 size_t longest) {
  std::vector<uint64_t> digests(longest, 0);
  for (size_t i = 0; i < declarations.size(); ++i) digests[i] = declarations[i].digest;
  DS_ASSIGN(const auto all, GatherAll(comm, what, digests));
  size_t first = 0;
  int other = 0;
  for (; first < longest && other == 0; ++first) {
    for (int r = 1; r < comm.size(); ++r) {
      if (other == 0 && all[r * longest + first] != all[first]) other = r;
    }
  }
  const size_t index = first - 1;
  std::vector<Text> mine(1);
  const std::string text = index < declarations.size() ? declarations[index].text : "nothing more";
  std::memcpy(mine[0].data(), text.data(), std::min(text.size(), mine[0].size() - 1));
  DS_ASSIGN(const auto texts, GatherAll(comm, what, mine));
  return std::optional<Difference>({index, other, texts[0].data(), texts[other].data()});
}

// Collective. The first difference, the same one on every rank.
Result<std::optional<Difference>> Compare(comm::Communicator& comm, const char* what,
                                          const std::vector<Declaration>& declarations) {
  std::vector<uint64_t> digests;
  for (const Declaration& d : declarations) digests.push_back(d.digest);
  const std::vector<Summary> mine = {
      {digests.size(), XXH3_64bits(digests.data(), digests.size() * sizeof(uint64_t))}};
  DS_ASSIGN(const auto all, GatherAll(comm, what, mine));
  size_t longest = 0;
  bool alike = true;  // compared with rank 0, not with this one: every rank must decide the same
  for (const Summary& s : all) {
    longest = std::max<size_t>(longest, s.count);
    alike = alike && s.count == all[0].count && s.digest == all[0].digest;
  }
  if (alike) return std::optional<Difference>();
  return FindDifference(comm, what, declarations, longest);
}

Declaration Setting(std::string text) {
  const uint64_t digest = XXH3_64bits(text.data(), text.size());
  return {digest, std::move(text)};
}

struct Leaf {
  int depth;
  std::string path, value;
};

void AddLeaves(const Json& json, const std::string& path, int depth, std::vector<Leaf>& leaves) {
  for (const auto& [key, value] : json.items()) {
    const std::string here = path.empty() ? key : fmt::format("{}.{}", path, key);
    if (value.is_object()) {
      AddLeaves(value, here, depth + 1, leaves);
    } else {
      leaves.push_back({depth, here, DumpJson(value, -1)});
    }
  }
}

}  // namespace

Status Agree(comm::Communicator& comm, const std::vector<Declaration>& declarations) {
  DS_ASSIGN(const auto found, Compare(comm, "registration", declarations));
  if (!found) return {};
  const auto& [index, rank, zero, other] = *found;
  if (zero == other) {
    return Error(Code::kRankMismatch,
                 "parameter {} ({}): ranks 0 and {} gave different initial values", index, zero,
                 rank);
  }
  return Error(Code::kRankMismatch, "parameter {}: rank 0 registered {}, rank {} registered {}",
               index, zero, rank, other);
}

Status AgreeOnGroups(comm::Communicator& comm, const std::vector<Declaration>& groups) {
  DS_ASSIGN(const auto found, Compare(comm, "parameter groups", groups));
  if (!found) return {};
  return Error(Code::kRankMismatch, "parameter group {}: rank 0 has {}, rank {} has {}",
               found->index + 1, found->zero, found->rank, found->other);
}

std::vector<Declaration> SettingsOf(std::string_view lines) {
  std::vector<Declaration> settings;
  while (!lines.empty()) {
    std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
    if (line.ends_with(',')) line.remove_suffix(1);
    settings.push_back(Setting(std::string(line)));
  }
  return settings;
}

Status AgreeOnConfig(comm::Communicator& comm, const Json& config) {
  std::vector<Leaf> leaves;
  AddLeaves(config, "", 0, leaves);
  // What decides which others there are (optimizer.type) is named before them.
  std::stable_sort(leaves.begin(), leaves.end(),
                   [](const Leaf& a, const Leaf& b) { return a.depth < b.depth; });
  std::vector<Declaration> settings;
  for (const Leaf& leaf : leaves) {
    settings.push_back(Setting(fmt::format("{} {}", leaf.path, leaf.value)));
  }
  return AgreeOn(comm, "config", settings);
}

Status AgreeOn(comm::Communicator& comm, const char* what,
               const std::vector<Declaration>& declarations) {
  DS_ASSIGN(const auto found, Compare(comm, what, declarations));
  if (!found) return {};
  return Error(Code::kRankMismatch, "{}: rank 0 has {}, rank {} has {}", what, found->zero,
               found->rank, found->other);
}

}  // namespace ds::zero
