#include "token/added_tokens.h"

#include "base/utf8.h"
#include "token/unicode.h"

namespace ds::token {
namespace {

uint64_t Edge(int32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
}

bool WordBefore(std::string_view text, size_t end) {
  return end > 0 && IsWord(ReadUtf8Before(text, end).value);
}

bool WordAt(std::string_view text, size_t at) {
  return at < text.size() && IsWord(ReadUtf8(text, at).value);
}

size_t WithoutSpaceBefore(std::string_view text, size_t begin, size_t end) {
  while (end > begin) {
    const CodePoint c = ReadUtf8Before(text, end);
    if (!IsSpace(c.value)) break;
    end -= c.bytes;
  }
  return end;
}

size_t WithoutSpaceBehind(std::string_view text, size_t at) {
  while (at < text.size()) {
    const CodePoint c = ReadUtf8(text, at);
    if (!IsSpace(c.value)) break;
    at += c.bytes;
  }
  return at;
}

}  // namespace

Status CheckSpecial(std::string_view content) {
  if (content.empty() || content.size() > TokenMatcher::kMaxBytes) {
    return InvalidArgument("a special token of {} bytes, expected 1 to {}", content.size(),
                           TokenMatcher::kMaxBytes);
  }
  return CheckUtf8(content, "a special token");
}

Result<TokenMatcher> TokenMatcher::Create(std::vector<AddedToken> tokens) {
  TokenMatcher matcher;
  matcher.tokens_ = std::move(tokens);
  matcher.ends_.push_back(-1);
  for (size_t i = 0; i < matcher.tokens_.size(); ++i) {
    const std::string& content = matcher.tokens_[i].content;
    if (content.empty() || content.size() > kMaxBytes) {
      return Error(Code::kUnsupported, "added token {} has {} bytes, expected 1 to {}",
                   matcher.tokens_[i].id, content.size(), kMaxBytes);
    }
    matcher.begins_[static_cast<unsigned char>(content.front())] = true;
    int32_t node = 0;
    for (const char byte : content) {
      const auto fresh = static_cast<int32_t>(matcher.ends_.size());
      const auto [edge, made] = matcher.next_.try_emplace(Edge(node, byte), fresh);
      if (made) matcher.ends_.push_back(-1);
      node = edge->second;
    }
    int32_t& end = matcher.ends_[static_cast<size_t>(node)];
    if (end == -1) end = static_cast<int32_t>(i);
  }
  return matcher;
}

const AddedToken* TokenMatcher::LongestAt(std::string_view text, size_t at) const {
  const AddedToken* longest = nullptr;
  int32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto edge = next_.find(Edge(node, text[at]));
    if (edge == next_.end()) break;
    node = edge->second;
    const int32_t end = ends_[static_cast<size_t>(node)];
    if (end != -1) longest = &tokens_[static_cast<size_t>(end)];
  }
  return longest;
}

Status TokenMatcher::Cut(std::string_view text, FunctionRef<Status(std::string_view)> piece,
                         FunctionRef<void(int32_t)> found) const {
  size_t done = 0, at = 0;
  while (!tokens_.empty() && at < text.size()) {
    if (!begins_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const AddedToken* const token = LongestAt(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word && (WordBefore(text, begin) || WordAt(text, end))) continue;
    if (token->lstrip) begin = WithoutSpaceBefore(text, done, begin);
    if (token->rstrip) at = end = WithoutSpaceBehind(text, end);
    if (done < begin) DS_TRY(piece(text.substr(done, begin - done)));
    found(token->id);
    done = end;
  }
  return done < text.size() ? piece(text.substr(done)) : Status();
}

}  // namespace ds::token
