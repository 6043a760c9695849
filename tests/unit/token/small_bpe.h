// A byte-level encoding of the 256 bytes and a few merges, for tests.
#pragma once

#include "token/bpe_tokenizer.h"
#include "token/tokenizer_json.h"

namespace ds::token {

// Merges as pairs of texts; the ids of what they make follow from 256 on.
inline BpeParts SmallBpe(const std::vector<std::pair<std::string, std::string>>& merges,
                         SplitRule rule = SplitRule::kGpt2) {
  BpeParts parts;
  std::unordered_map<std::string, int32_t> ids;
  const auto add = [&](const std::string& bytes) {
    ids[bytes] = static_cast<int32_t>(parts.tokens.size());
    parts.tokens.push_back(bytes);
  };
  for (int byte = 0; byte < 256; ++byte) {
    add(std::string(1, static_cast<char>(byte)));
    parts.byte_ids[static_cast<size_t>(byte)] = byte;
  }
  for (const auto& [left, right] : merges) {
    add(left + right);
    parts.merges.push_back({ids.at(left), ids.at(right), ids.at(left + right),
                            static_cast<int32_t>(parts.merges.size())});
  }
  parts.split = rule;
  return parts;
}

inline void AddToken(BpeParts& parts, AddedToken token) {
  token.id = static_cast<int32_t>(parts.tokens.size());
  parts.tokens.push_back(token.content);
  parts.added.push_back(std::move(token));
}

}  // namespace ds::token
