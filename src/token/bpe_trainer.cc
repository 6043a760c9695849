#include "token/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_set>
#include <vector>

#include "base/utf8.h"
#include "token/byte_alphabet.h"
#include "token/tokenizer_json.h"

namespace ds::token {
namespace {

constexpr int64_t kMaxVocab = int64_t{1} << 22;
constexpr int64_t kLeastCount = 2;  // of a pair that is worth a token

uint64_t PairOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

struct Word {
  Ids symbols;
  int64_t count;
};

struct Candidate {
  int64_t count;
  uint64_t pair;
  bool operator<(const Candidate& other) const {  // the largest is merged next
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Learner {
 public:
  Learner(std::vector<Word> words, BpeParts& parts) : words_(std::move(words)), parts_(parts) {
    for (size_t id = 0; id < parts.tokens.size(); ++id) {
      ids_[parts.tokens[id]] = static_cast<int32_t>(id);
    }
    for (size_t w = 0; w < words_.size(); ++w) {
      const Ids& symbols = words_[w].symbols;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        Change(PairOf(symbols[i], symbols[i + 1]), words_[w].count, w);
      }
    }
    for (const auto& [pair, about] : pairs_) queue_.push({about.count, pair});
  }

  // Learns one merge; false where there is none left.
  bool Step() {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const int64_t now = pairs_[best.pair].count;
      if (now != best.count) {  // merges since have taken some of its places
        if (now >= kLeastCount) queue_.push({now, best.pair});
        continue;
      }
      if (best.count < kLeastCount) return false;
      Merge(best.pair);
      return true;
    }
    return false;
  }

 private:
  struct About {
    int64_t count = 0;
    std::vector<size_t> words;  // that had the pair when they were noted here; in no order
  };

  void Change(uint64_t pair, int64_t by, size_t word) {
    About& about = pairs_[pair];
    about.count += by;
    if (by > 0 && (about.words.empty() || about.words.back() != word)) about.words.push_back(word);
  }

  void Merge(uint64_t pair) {
    const auto left = static_cast<int32_t>(pair >> 32), right = static_cast<int32_t>(pair);
    const std::string made =
        parts_.tokens[static_cast<size_t>(left)] + parts_.tokens[static_cast<size_t>(right)];
    // Two pairs may make one token: it has one id and two merges.
    const auto [known, fresh] = ids_.try_emplace(made, static_cast<int32_t>(parts_.tokens.size()));
    if (fresh) parts_.tokens.push_back(made);
    const int32_t into = known->second;
    parts_.merges.push_back({left, right, into, static_cast<int32_t>(parts_.merges.size())});
    std::vector<size_t> words = std::move(pairs_[pair].words);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    grown_.clear();
    for (const size_t w : words) MergeWord(w, left, right, into);
    pairs_.erase(pair);
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (const uint64_t one : grown_) queue_.push({pairs_[one].count, one});
  }

  // Every pair of the word is counted out, the word merged, and every pair counted in: what did not
  // change cancels, and a word is short.
  void MergeWord(size_t w, int32_t left, int32_t right, int32_t into) {
    Word& word = words_[w];
    Ids& symbols = word.symbols;
    size_t kept = 0;
    merged_.clear();
    for (size_t i = 0; i < symbols.size();) {
      const bool here = i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
      merged_.push_back(here ? into : symbols[i]);
      kept += here;
      i += here ? 2 : 1;
    }
    if (kept == 0) return;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      pairs_[PairOf(symbols[i], symbols[i + 1])].count -= word.count;
    }
    for (size_t i = 0; i + 1 < merged_.size(); ++i) {
      const uint64_t pair = PairOf(merged_[i], merged_[i + 1]);
      if (merged_[i] == into || merged_[i + 1] == into) {
        Change(pair, word.count, w);
        grown_.push_back(pair);
      } else {
        pairs_[pair].count += word.count;
      }
    }
    symbols = merged_;
  }

  std::vector<Word> words_;
  BpeParts& parts_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<uint64_t, About> pairs_;
  std::priority_queue<Candidate> queue_;
  Ids merged_;                   // scratch of MergeWord
  std::vector<uint64_t> grown_;  // pairs that the last merge brought
};

// Whether the file of a tokenizer writes a byte so.
bool IsByte(std::string_view content) {
  std::string bytes;
  return FromByteAlphabet(content, bytes) && bytes.size() == 1;
}

}  // namespace

Result<BpeTrainer> BpeTrainer::Create(SplitRule rule, int64_t vocab,
                                      const std::vector<std::string>& special) {
  std::vector<AddedToken> tokens = {
      {.content = "<|endoftext|>", .normalized = false, .special = true}};
  for (const std::string& content : special) {
    if (IsByte(content)) {
      return InvalidArgument("the special token '{}' is how a byte is written", content);
    }
    DS_TRY(CheckSpecial(content));
    for (const AddedToken& token : tokens) {
      if (token.content == content) {
        return InvalidArgument("the special token '{}' is there already", content);
      }
    }
    tokens.push_back({.content = content, .normalized = false, .special = true});
  }
  const int64_t least = 256 + std::ssize(tokens);
  if (vocab < least || vocab > kMaxVocab) {
    return InvalidArgument("a vocabulary of {}, expected {} to {}", vocab, least, kMaxVocab);
  }
  DS_ASSIGN(TokenMatcher matcher, TokenMatcher::Create(std::move(tokens)));
  return BpeTrainer(rule, vocab, std::move(matcher));
}

void BpeTrainer::Add(std::string_view text) {
  const auto count = [&](std::string_view piece) {
    for (size_t at = 0; at < piece.size();) {
      const size_t end = WordEnd(rule_, piece, at);
      ++words_[std::string(piece.substr(at, end - at))];
      at = end;
    }
    return Status();
  };
  (void)special_.Cut(text, count, [](int32_t) {});  // `count` never fails
}

Result<BpeParts> BpeTrainer::Train(FunctionRef<bool(int64_t)> progress) const {
  std::vector<AddedToken> added = special_.tokens();
  if (words_.empty()) return InvalidArgument("the text is empty, it has no words");
  BpeParts parts;
  parts.split = rule_;
  // The order that other trainers give the bytes: that of their characters in the alphabet of the
  // file.
  std::vector<std::pair<uint32_t, int>> order;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    order.emplace_back(ReadUtf8(ToByteAlphabet({&one, 1}), 0).value, byte);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [character, byte] : order) {
    parts.byte_ids[static_cast<size_t>(byte)] = static_cast<int32_t>(parts.tokens.size());
    parts.tokens.emplace_back(1, static_cast<char>(byte));
  }
  std::vector<Word> words;
  words.reserve(words_.size());
  for (const auto& [text, count] : words_) {
    Word word{{}, count};
    for (const char byte : text) {
      word.symbols.push_back(parts.byte_ids[static_cast<unsigned char>(byte)]);
    }
    words.push_back(std::move(word));
  }
  Learner learner(std::move(words), parts);
  while (std::ssize(parts.tokens) + std::ssize(added) < vocab_ && learner.Step()) {
    if (!progress(static_cast<int64_t>(parts.tokens.size()))) {
      return Error(Code::kCancelled, "interrupted");
    }
  }
  parts.end_of_text = static_cast<int32_t>(parts.tokens.size());
  std::unordered_set<std::string> learned;  // as the file writes them
  for (const std::string& token : parts.tokens) learned.insert(ToByteAlphabet(token));
  for (AddedToken& token : added) {
    if (learned.contains(token.content)) {
      return InvalidArgument("the special token '{}' is one that the text teaches", token.content);
    }
    token.id = static_cast<int32_t>(parts.tokens.size());
    parts.tokens.push_back(token.content);
  }
  parts.added = std::move(added);
  parts.files.push_back({"tokenizer.json", ToTokenizerJson(parts)});
  parts.files.push_back({"tokenizer_config.json",
                         "{\n  \"bos_token\": \"<|endoftext|>\",\n  \"eos_token\": "
                         "\"<|endoftext|>\",\n  \"clean_up_tokenization_spaces\": false,\n"
                         "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n"});
  return parts;
}

}  // namespace ds::token
