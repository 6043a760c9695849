#include "data/chat.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/utf8.h"
#include "data/tokens.h"
#include "token/unicode.h"

namespace ds::data {
namespace {

// A turn: the tokens `open` and `close` (where there is one) around the role, `head_end`, the
// content, the token `end`, `behind`.
struct Layout {
  const char *open, *close, *head_end, *end, *behind;
  bool trimmed;  // contents are without white space around them
};
constexpr Layout kChatMl = {"<|im_start|>", "", "\n", "<|im_end|>", "\n", false};
constexpr Layout kLlama3 = {
    "<|start_header_id|>", "<|end_header_id|>", "\n\n", "<|eot_id|>", "", true};

bool HasToken(const token::Tokenizer& tokenizer, const char* token) {
  auto ids = tokenizer.Encode(token);
  return ids.ok() && ids->size() == 1 && tokenizer.IsSpecial(ids->front());
}

Result<Layout> LayoutFor(const token::Tokenizer& tokenizer) {
  std::string partly;  // of a layout some
  for (const Layout& layout : {kChatMl, kLlama3}) {
    std::vector<std::string> there, missing;
    for (const char* token : {layout.open, layout.close, layout.end}) {
      if (*token != '\0') (HasToken(tokenizer, token) ? there : missing).emplace_back(token);
    }
    if (missing.empty()) return layout;
    if (there.empty() || !partly.empty()) continue;
    partly = fmt::format("it has {} and no special {}", fmt::join(there, ", "),
                         fmt::join(missing, ", "));
  }
  return Error(Code::kUnsupported,
               "a conversation needs the tokens <|im_start|> and <|im_end|>, or those of Llama 3; "
               "this tokenizer has neither{} (dspeed train --special adds them to a model's, "
               "dspeed tokenizer train --special to a new one)",
               partly.empty() ? "" : ": " + partly);
}

// As the template's `trim` does, which is Python's strip().
std::string_view Trimmed(std::string_view text) {
  const auto blank = [](const CodePoint& c) {
    return token::IsSpace(c.value) || (c.value >= 0x1C && c.value <= 0x1F);
  };
  while (!text.empty()) {
    const CodePoint first = ReadUtf8(text, 0);
    if (!blank(first)) break;
    text.remove_prefix(first.bytes);
  }
  while (!text.empty()) {
    const CodePoint last = ReadUtf8Before(text, text.size());
    if (!blank(last)) break;
    text.remove_suffix(last.bytes);
  }
  return text;
}

constexpr char kAssistant[] = "assistant";
bool IsAnswer(const Turn& turn) { return turn.role == kAssistant; }

std::string HeadOf(const Layout& layout, std::string_view role) {
  return fmt::format("{}{}{}{}", layout.open, role, layout.close, layout.head_end);
}
std::string BodyOf(const Layout& layout, std::string_view content) {
  return fmt::format("{}{}", layout.trimmed ? Trimmed(content) : content, layout.end);
}

// Appends turns, each piece with its mark.
class TurnEncoder {
 public:
  TurnEncoder(const Layout& layout, const token::Tokenizer& tokenizer, token::WordCache& cache,
              token::Ids& ids)
      : layout_(layout), tokenizer_(tokenizer), cache_(cache), ids_(ids), from_(ids.size()) {
    ids.insert(ids.end(), tokenizer.before().begin(), tokenizer.before().end());
    Mark(from_);
  }

  Status Add(const Turn& turn) {
    const std::string head = HeadOf(layout_, turn.role), body = BodyOf(layout_, turn.content);
    if (IsAnswer(turn)) {  // its ids begin where those of a prompt end, and go on there
      DS_TRY(Ask(head));
      const size_t from = ids_.size();
      DS_TRY(tokenizer_.EncodeMore(body, cache_, ids_));
      if (!turn.learned) Mark(from);
    } else {  // as in a prompt, where words may reach over the border
      DS_TRY(Ask(head + body));
    }
    return *layout_.behind == '\0' ? Status() : Ask(layout_.behind);
  }
  // What is read and not learned.
  Status Ask(const std::string& text) {
    const size_t from = ids_.size();
    DS_TRY(tokenizer_.Encode(text, cache_, ids_));
    Mark(from);
    return {};
  }
  // All that was added is a conversation.
  void MarkBegin() { Set(from_, TokenSpan::kBegins); }
  // Of all that was added.
  void ClearMarks() {
    for (size_t i = from_; i < ids_.size(); ++i) {
      ids_[i] = static_cast<int32_t>(TokenSpan::Id(static_cast<uint32_t>(ids_[i])));
    }
  }

 private:
  void Set(size_t i, uint32_t mark) {
    ids_[i] = static_cast<int32_t>(static_cast<uint32_t>(ids_[i]) | mark);
  }
  void Mark(size_t from) {
    for (size_t i = from; i < ids_.size(); ++i) Set(i, TokenSpan::kNoLoss);
  }

  const Layout& layout_;
  const token::Tokenizer& tokenizer_;
  token::WordCache& cache_;
  token::Ids& ids_;
  const size_t from_;
};

}  // namespace

bool HasAnswer(std::span<const Turn> turns) {
  return std::any_of(turns.begin(), turns.end(),
                     [](const Turn& turn) { return IsAnswer(turn) && turn.learned; });
}

Status EncodeChat(std::span<const Turn> turns, const token::Tokenizer& tokenizer,
                  token::WordCache& cache, token::Ids& ids) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  if (!HasAnswer(turns)) {
    const bool some = std::any_of(turns.begin(), turns.end(), IsAnswer);
    return InvalidArgument("has no answer: of {} turns {}", turns.size(),
                           some ? "those of the assistant all have weight 0"
                                : "none is the assistant's (role assistant, or from gpt)");
  }
  TurnEncoder encoder(layout, tokenizer, cache, ids);
  for (const Turn& turn : turns) DS_TRY(encoder.Add(turn));
  encoder.MarkBegin();
  return {};
}

Status EncodeQuestion(std::span<const Turn> turns, const token::Tokenizer& tokenizer,
                      token::WordCache& cache, token::Ids& ids) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  TurnEncoder encoder(layout, tokenizer, cache, ids);
  for (const Turn& turn : turns) DS_TRY(encoder.Add(turn));
  DS_TRY(encoder.Ask(HeadOf(layout, kAssistant)));
  encoder.ClearMarks();
  return {};
}

Result<std::string> ChatTemplate(const token::Tokenizer& tokenizer) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  const auto quoted = [](std::string_view text) {
    std::string literal = "'";
    for (const char c : text) {
      if (c == '\'' || c == '\\') literal += '\\';
      literal += c == '\n' ? "\\n" : std::string(1, c);
    }
    return literal + "'";
  };
  std::string begin;  // of the text, as EncodeChat puts it there
  if (!tokenizer.before().empty()) {
    DS_ASSIGN(const std::string before, tokenizer.Decode(tokenizer.before()));
    begin = fmt::format("{{{{ {} }}}}", quoted(before));
  }
  return begin + fmt::format(
                     "{{% for message in messages %}}{{{{ {} + message['role'] + {} + "
                     "message['content']{} + {} "
                     "}}}}"
                     "{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {} }}}}{{% endif %}}",
                     quoted(layout.open), quoted(std::string(layout.close) + layout.head_end),
                     layout.trimmed ? " | trim" : "",
                     quoted(std::string(layout.end) + layout.behind),
                     quoted(HeadOf(layout, kAssistant)));
}

Result<int32_t> EndOfTurn(const token::Tokenizer& tokenizer) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  DS_ASSIGN(const token::Ids end, tokenizer.Encode(layout.end));
  return end.front();
}

}  // namespace ds::data
