// Tokens that are looked for in a text before anything else: the special ones, such as the end of a
// text, and others that were added to a vocabulary as they are.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"

namespace ds::token {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character stands beside it
  bool lstrip = false;       // takes the white space before it, too
  bool rstrip = false;       // ... and behind it
  bool normalized = true;    // looked for in the text after normalization
  bool special = false;      // left out of a decoded text on demand
};

// That a special token may be called so: not empty, not too long, and UTF-8.
Status CheckSpecial(std::string_view content);

class TokenMatcher {
 public:
  static constexpr size_t kMaxBytes = 1024;

  // Fails on a token that is empty or longer than kMaxBytes. Of two with one content the first
  // counts.
  static Result<TokenMatcher> Create(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // Cuts the text: `piece` for what lies between tokens, `found` for the id of each, in the order
  // of the text; of tokens that begin at one place the longest counts. A failure ends it.
  Status Cut(std::string_view text, FunctionRef<Status(std::string_view)> piece,
             FunctionRef<void(int32_t)> found) const;

 private:
  TokenMatcher() = default;
  // The longest token at `at`, null for none.
  const AddedToken* LongestAt(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> begins_ = {};           // some token begins with this byte
  std::unordered_map<uint64_t, int32_t> next_;  // a trie: node and byte to node, the root is 0
  std::vector<int32_t> ends_;                   // of a node: the token that ends there, or -1
};

}  // namespace ds::token
