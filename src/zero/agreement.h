// What the ranks registered, and how they are configured, must be alike. Compares short digests,
// and on a difference finds the first one and words it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "comm/communicator.h"

namespace ds::zero {

struct Declaration {
  uint64_t digest;   // of everything that must be alike
  std::string text;  // "h.0.w f32[3, 4] in unit h.0"
};

// All are collective. kRankMismatch, on every rank alike, names the first declaration that
// differs.
Status Agree(comm::Communicator& comm, const std::vector<Declaration>& declarations);
Status AgreeOn(comm::Communicator& comm, const char* what,
               const std::vector<Declaration>& declarations);
Status AgreeOnGroups(comm::Communicator& comm, const std::vector<Declaration>& groups);
Status AgreeOnConfig(comm::Communicator& comm, const Json& config);
// Of text with one setting a line.
std::vector<Declaration> SettingsOf(std::string_view lines);

}  // namespace ds::zero
