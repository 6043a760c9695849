#include "token/split.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "token/unicode.h"

namespace ds::token {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr struct {
  SplitRule rule;
  const char* name;
  std::string_view pattern;
} kRules[] = {
    {SplitRule::kNone, "none", ""},
    {SplitRule::kGpt2, "gpt2", kGpt2Pattern},
    {SplitRule::kLlama3, "llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
     R"(\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {SplitRule::kQwen2, "qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
     R"(\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {SplitRule::kSmolLm, "smollm", kGpt2Pattern},
};

// One character and its class; at the end of the text, no bytes.
struct Char {
  uint32_t value;
  CharClass kind;
  size_t bytes;

  bool newline() const { return bytes != 0 && (value == '\r' || value == '\n'); }
};

// Known to the compiler, so that text in ASCII needs no table that is made at run time.
constexpr std::array<CharClass, 128> kAscii = [] {
  std::array<CharClass, 128> classes = {};
  for (int c = 'a'; c <= 'z'; ++c) classes[c] = classes[c - 'a' + 'A'] = CharClass::kLetter;
  for (int c = '0'; c <= '9'; ++c) classes[c] = CharClass::kNumber;
  for (int c = 9; c <= 13; ++c) classes[c] = CharClass::kSpace;
  classes[' '] = CharClass::kSpace;
  return classes;
}();

class Text {
 public:
  explicit Text(std::string_view text) : text_(text) {}

  Char At(size_t at) const {
    if (at >= text_.size()) return {0, CharClass::kOther, 0};
    const auto first = static_cast<unsigned char>(text_[at]);
    if (first < 128) return {first, kAscii[first], 1};
    const CodePoint c = ReadUtf8(text_, at);
    return {c.value, ClassOf(c.value), c.bytes};
  }

  // The end of the characters of this class from `at` on, at most so many of them.
  size_t Run(size_t at, CharClass kind, size_t most = SIZE_MAX) const {
    for (size_t n = 0; n < most; ++n) {
      const Char c = At(at);
      if (c.bytes == 0 || c.kind != kind) break;
      at += c.bytes;
    }
    return at;
  }
  size_t NewlineRun(size_t at) const {
    while (At(at).newline()) ++at;
    return at;
  }

  // 's 't 're 've 'm 'll 'd at `at`: their length, or 0. Without regard to case they have one more
  // spelling, the long s.
  size_t Contraction(size_t at, bool any_case) const {
    if (text_[at] != '\'') return 0;
    const auto letter = [&](size_t i) {
      if (at + i >= text_.size()) return '\0';
      const char c = text_[at + i];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char first = letter(1), second = letter(2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if ((first == 'r' || first == 'v') && second == 'e') return 3;
    if (first == 'l' && second == 'l') return 3;
    return any_case && text_.substr(at + 1, 2) == "\u017f" ? 3 : 0;
  }

  // White space from `at` on: \s+(?!\S)|\s+, all of it at the end of the text, else without its
  // last character, which belongs to what follows.
  size_t SpaceEnd(size_t at, bool number_is_end = false) const {
    size_t last = at, end = at;
    Char c = At(at);
    for (; c.bytes != 0 && c.kind == CharClass::kSpace; c = At(end)) {
      last = end;
      end += c.bytes;
    }
    const bool ends = c.bytes == 0 || (number_is_end && c.kind == CharClass::kNumber);
    return ends || last == at ? end : last;
  }

  // \s*[\r\n]+: through the last line end of the white space at `at`; `at` where there is none.
  size_t LineSpaceEnd(size_t at) const {
    size_t end = at;
    for (Char c = At(at); c.bytes != 0 && c.kind == CharClass::kSpace; c = At(at)) {
      at += c.bytes;
      if (c.newline()) end = at;
    }
    return end;
  }

 private:
  std::string_view text_;
};

// `digits_apart`: each number is a text of its own, at which those beside it end.
size_t Gpt2End(const Text& text, size_t at, bool digits_apart) {
  if (const size_t length = text.Contraction(at, /*any_case=*/false); length > 0) {
    return at + length;
  }
  const Char first = text.At(at);
  const Char run = first.value == ' ' ? text.At(at + 1) : first;
  if (digits_apart && run.kind == CharClass::kNumber) return at + first.bytes;
  if (run.bytes != 0 && run.kind != CharClass::kSpace) {
    return text.Run(first.value == ' ' ? at + 1 : at, run.kind);
  }
  return text.SpaceEnd(at, digits_apart);
}

size_t Llama3End(const Text& text, size_t at, size_t digits) {
  if (const size_t length = text.Contraction(at, /*any_case=*/true); length > 0) return at + length;
  const Char first = text.At(at), second = text.At(at + first.bytes);
  if (first.kind == CharClass::kLetter) return text.Run(at, CharClass::kLetter);
  if (first.kind == CharClass::kNumber) return text.Run(at, CharClass::kNumber, digits);
  if (!first.newline() && second.bytes != 0 && second.kind == CharClass::kLetter) {
    return text.Run(at + first.bytes, CharClass::kLetter);
  }
  if (first.kind == CharClass::kOther) return text.NewlineRun(text.Run(at, CharClass::kOther));
  if (first.value == ' ' && second.bytes != 0 && second.kind == CharClass::kOther) {
    return text.NewlineRun(text.Run(at + 1, CharClass::kOther));
  }
  const size_t line = text.LineSpaceEnd(at);
  return line > at ? line : text.SpaceEnd(at);
}

}  // namespace

const char* SplitRuleName(SplitRule rule) { return kRules[static_cast<size_t>(rule)].name; }

std::string_view SplitPattern(SplitRule rule) { return kRules[static_cast<size_t>(rule)].pattern; }

std::optional<SplitRule> FindSplitRule(std::string_view pattern) {
  for (const auto& known : kRules) {
    if (!pattern.empty() && known.pattern == pattern) return known.rule;
  }
  return std::nullopt;
}

std::optional<SplitRule> SplitRuleOfName(std::string_view name) {
  for (const auto& known : kRules) {
    if (known.rule != SplitRule::kNone && known.name == name) return known.rule;
  }
  return std::nullopt;
}

size_t WordEnd(SplitRule rule, std::string_view text, size_t at) {
  switch (rule) {
    case SplitRule::kNone:
      break;
    case SplitRule::kGpt2:
      return Gpt2End(Text(text), at, /*digits_apart=*/false);
    case SplitRule::kLlama3:
      return Llama3End(Text(text), at, 3);
    case SplitRule::kQwen2:
      return Llama3End(Text(text), at, 1);
    case SplitRule::kSmolLm:
      return Gpt2End(Text(text), at, /*digits_apart=*/true);
  }
  return text.size();
}

}  // namespace ds::token
