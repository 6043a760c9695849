#include "token/tiktoken.h"

#include <algorithm>
#include <charconv>

#include "token/tokenizer_json.h"

namespace ds::token {
namespace {

// The time to find the merges of a token grows with its square.
constexpr size_t kMaxTokenBytes = 512;
constexpr size_t kMaxRanks = size_t{1} << 22;

struct Special {
  int32_t behind;  // the id is the number of ranks and this
  const char* content;
};
constexpr Special kGpt2[] = {{0, "<|endoftext|>"}};
constexpr Special kCl100k[] = {{1, "<|endoftext|>"},
                               {2, "<|fim_prefix|>"},
                               {3, "<|fim_middle|>"},
                               {4, "<|fim_suffix|>"},
                               {20, "<|endofprompt|>"}};
constexpr Special kQwen[] = {{0, "<|endoftext|>"}, {1, "<|im_start|>"}, {2, "<|im_end|>"}};
constexpr Special kLlama3[] = {{0, "<|begin_of_text|>"},
                               {1, "<|end_of_text|>"},
                               {6, "<|start_header_id|>"},
                               {7, "<|end_header_id|>"},
                               {9, "<|eot_id|>"}};

constexpr struct {
  size_t ranks;
  SplitRule rule;
  std::span<const Special> special;
} kKnown[] = {{50256, SplitRule::kGpt2, kGpt2},
              {100256, SplitRule::kLlama3, kCl100k},
              {128000, SplitRule::kLlama3, kLlama3},
              {151643, SplitRule::kQwen2, kQwen}};

// What else Llama 3 has between and behind its special tokens, up to 256 of them.
void ReserveLlama3(BpeParts& parts, size_t ranks) {
  int reserved = 0;
  for (int32_t i = 0; i < 256; ++i) {
    const bool named = std::any_of(std::begin(kLlama3), std::end(kLlama3),
                                   [&](const Special& special) { return special.behind == i; });
    if (named) continue;
    parts.added.push_back({.content = fmt::format("<|reserved_special_token_{}|>", reserved++),
                           .id = static_cast<int32_t>(ranks) + i,
                           .normalized = false,
                           .special = true});
  }
}

int Sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

bool FromBase64(std::string_view text, std::string& bytes) {
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  for (size_t at = 0; at < text.size(); at += 4) {
    uint32_t word = 0;
    const bool last = at + 4 == text.size();
    const size_t padding = last ? (text[at + 2] == '=' ? 2 : text[at + 3] == '=' ? 1 : 0) : 0;
    for (size_t i = 0; i < 4; ++i) {
      const int sextet = i >= 4 - padding ? (text[at + i] == '=' ? 0 : -1) : Sextet(text[at + i]);
      if (sextet < 0) return false;
      word = word << 6 | static_cast<uint32_t>(sextet);
    }
    for (size_t i = 0; i < 3 - padding; ++i) bytes += static_cast<char>(word >> (16 - 8 * i));
  }
  return true;
}

Status ReadRanks(std::string_view text, std::string_view what, std::vector<std::string>& tokens) {
  std::string bytes;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = std::min(line.find(' '), line.size());
    const std::string_view digits = line.substr(std::min(space + 1, line.size()));
    size_t rank = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (!FromBase64(line.substr(0, space), bytes) || error != std::errc() ||
        stop != digits.data() + digits.size() || digits.empty()) {
      return Error(Code::kCorruptData, "{}: line {} is not a token in base64 and its rank", what,
                   number);
    }
    if (bytes.size() > kMaxTokenBytes) {
      return Error(Code::kUnsupported, "{}: line {}: a token of {} bytes, at most {}", what, number,
                   bytes.size(), kMaxTokenBytes);
    }
    if (rank != tokens.size() || rank >= kMaxRanks) {
      return Error(Code::kCorruptData, "{}: line {}: rank {}, expected {}", what, number, rank,
                   tokens.size());
    }
    tokens.push_back(bytes);
  }
  return {};
}

// A pair is merged when the two together are a token, in the order of the ranks of what they make.
Status FindMerges(std::string_view what, BpeParts& parts) {
  std::unordered_map<std::string_view, int32_t> ranks;
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    if (!ranks.try_emplace(parts.tokens[id], static_cast<int32_t>(id)).second) {
      return Error(Code::kCorruptData, "{}: rank {} has the bytes of rank {}", what, id,
                   ranks[parts.tokens[id]]);
    }
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    const auto found = ranks.find(std::string_view(&one, 1));
    if (found == ranks.end()) {
      return Error(Code::kCorruptData, "{}: no rank for the byte 0x{:02x}", what, byte);
    }
    parts.byte_ids[byte] = found->second;
  }
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    const std::string_view token = parts.tokens[id];
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(token.substr(0, cut)), right = ranks.find(token.substr(cut));
      if (left == ranks.end() || right == ranks.end()) continue;
      const auto rank = static_cast<int32_t>(id);
      parts.merges.push_back({left->second, right->second, rank, rank});
    }
  }
  return {};
}

}  // namespace

Result<BpeParts> ParseTiktoken(std::string_view text, std::string_view what,
                               std::optional<SplitRule> rule) {
  if (text.starts_with('\n')) {  // how the one message begins that all such files are
    return Error(Code::kUnsupported,
                 "{}: is a SentencePiece model, which is not read; its tokenizer.json is", what);
  }
  BpeParts parts;
  DS_TRY(ReadRanks(text, what, parts.tokens));
  const size_t ranks = parts.tokens.size();
  const auto* const known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                         [&](const auto& one) { return one.ranks == ranks; });
  if (known == std::end(kKnown) && !rule.has_value()) {
    return Error(Code::kUnsupported,
                 "{}: has {} ranks, which is no published file: name its splitting rule, as in "
                 "gpt2:FILE, llama3:FILE or qwen2:FILE",
                 what, ranks);
  }
  DS_TRY(FindMerges(what, parts));
  parts.ignore_merges = true;
  if (known != std::end(kKnown)) {
    parts.split = known->rule;
    for (const Special& special : known->special) {
      parts.added.push_back({.content = special.content,
                             .id = static_cast<int32_t>(ranks) + special.behind,
                             .normalized = false,
                             .special = true});
    }
    if (ranks == 128000) {
      ReserveLlama3(parts, ranks);
      parts.before.push_back(static_cast<int32_t>(ranks));
    }
  }
  if (rule.has_value()) parts.split = *rule;
  for (const AddedToken& token : parts.added) {
    const auto id = static_cast<size_t>(token.id);
    parts.tokens.resize(std::max(parts.tokens.size(), id + 1));
    parts.tokens[id] = token.content;
    if (token.content == "<|endoftext|>" || token.content == "<|end_of_text|>") {
      parts.end_of_text = token.id;
    }
  }
  parts.files.push_back({"tokenizer.json", ToTokenizerJson(parts)});
  return parts;
}

}  // namespace ds::token
