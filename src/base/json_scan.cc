#include "base/json_scan.h"

#include <algorithm>
#include <vector>

#include "base/json.h"

namespace ds {
namespace {

// One token at a time: a structural character, a string, a comment, or one other character that is
// not space ('0' stands for them all).
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  enum class Kind { kEnd, kComment, kHashComment, kString, kStructure, kOther };
  struct Token {
    Kind kind;
    size_t begin, end;  // in the text
  };

  Token Next() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
    const size_t begin = at_;
    if (at_ == text_.size()) return {Kind::kEnd, begin, begin};
    const char c = text_[at_];
    if (c == '"') return Take(Kind::kString, StringEnd());
    if (c == '#') return Take(Kind::kHashComment, LineEnd());
    if (text_.substr(at_, 2) == "//") return Take(Kind::kComment, LineEnd());
    if (text_.substr(at_, 2) == "/*") {
      const size_t end = text_.find("*/", at_ + 2);
      if (end == text_.npos) return Take(Kind::kOther, text_.size());  // the parser's to refuse
      return Take(Kind::kComment, end + 2);
    }
    const bool structure = std::string_view("{}[],:").find(c) != std::string_view::npos;
    return Take(structure ? Kind::kStructure : Kind::kOther, at_ + 1);
  }

 private:
  static bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

  Token Take(Kind kind, size_t end) {
    const size_t begin = at_;
    at_ = end;
    return {kind, begin, end};
  }
  // Old Macs end lines with the one character, and Windows with both.
  size_t LineEnd() const { return std::min(text_.find_first_of("\r\n", at_), text_.size()); }
  size_t StringEnd() const {
    for (size_t i = at_ + 1; i < text_.size(); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '"') {
        return i + 1;
      }
    }
    return text_.size();
  }

  const std::string_view text_;
  size_t at_ = 0;
};

// Where a scan of a valid document is: the keys and arrays around it.
class Path {
 public:
  void Open(bool object) { levels_.push_back({object, "", 0}); }
  void Close() {
    if (!levels_.empty()) levels_.pop_back();
  }
  void Comma() {
    if (!levels_.empty()) ++levels_.back().index;
  }
  bool in_object() const { return !levels_.empty() && levels_.back().object; }
  void Key(std::string key) { levels_.back().key = std::move(key); }

  std::string Text() const {
    std::string text;
    for (const Level& level : levels_) {
      if (level.object) {
        text += (text.empty() ? "" : ".") + level.key;
      } else {
        text += fmt::format("[{}]", level.index);
      }
    }
    return text;
  }

 private:
  struct Level {
    bool object;
    std::string key;
    int64_t index;
  };
  std::vector<Level> levels_;
};

// Lines stay where they are.
void Blank(std::string& text, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (text[i] != '\n') text[i] = ' ';
  }
}

}  // namespace

// All comments, also those that the parser knows: it has other ends of them (at a NUL), and then
// the two would read two texts.
std::string BlankJsonExtras(std::string_view text) {
  using Kind = Scanner::Kind;
  std::string out(text);
  Scanner scanner(text);
  char before = '{';       // the last token that is no comment; '0' is a value or a part of one
  size_t comma = 0;        // where `before` is, when it is a comma
  bool removable = false;  // that comma stands behind a value
  for (auto token = scanner.Next(); token.kind != Kind::kEnd; token = scanner.Next()) {
    if (token.kind == Kind::kComment || token.kind == Kind::kHashComment) {
      Blank(out, token.begin, token.end);
      continue;
    }
    const char now = token.kind == Kind::kStructure ? text[token.begin] : '0';
    if ((now == '}' || now == ']') && before == ',' && removable) out[comma] = ' ';
    if (now == ',') {
      comma = token.begin;
      removable = before == '0' || before == '}' || before == ']';
    }
    before = now;
  }
  return out;
}

std::map<std::string, int> JsonKeyLines(std::string_view text) {
  using Kind = Scanner::Kind;
  std::map<std::string, int> lines;
  Scanner scanner(text);
  Path path;
  int line = 1;
  size_t counted = 0;
  bool key_next = false;  // the next string is a key
  for (auto token = scanner.Next(); token.kind != Kind::kEnd; token = scanner.Next()) {
    if (token.kind == Kind::kString && key_next) {
      const auto begin = text.begin() + static_cast<std::ptrdiff_t>(counted);
      const auto end = text.begin() + static_cast<std::ptrdiff_t>(token.begin);
      line += static_cast<int>(std::count(begin, end, '\n'));
      counted = token.begin;
      const Json key = Json::parse(text.substr(token.begin, token.end - token.begin), nullptr,
                                   /*allow_exceptions=*/false);
      path.Key(key.is_string() ? key.get<std::string>() : "");
      lines.emplace(path.Text(), line);
      key_next = false;
    }
    if (token.kind != Kind::kStructure) continue;
    const char c = text[token.begin];
    if (c == '{' || c == '[') path.Open(c == '{');
    if (c == '}' || c == ']') path.Close();
    if (c == ',') path.Comma();
    key_next = (c == '{' || c == ',') && path.in_object();
  }
  return lines;
}

}  // namespace ds
