#include "data/chat.h"

#include <optional>

#include "data/tokens.h"
#include "token/unicode.h"
#include "token/utf8.h"

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
  for (const Layout& layout : {kChatMl, kLlama3}) {
    const bool closes = *layout.close == '\0' || HasToken(tokenizer, layout.close);
    if (closes && HasToken(tokenizer, layout.open) && HasToken(tokenizer, layout.end)) {
      return layout;
    }
  }
  return Error(Code::kUnsupported,
               "a conversation needs the tokens <|im_start|> and <|im_end|>, or those of Llama 3; "
               "this tokenizer has neither (dspeed tokenizer train --special gives them to one)");
}

// As the template's `trim` does, which is Python's strip().
std::string_view Trimmed(std::string_view text) {
  const auto blank = [](const token::CodePoint& c) {
    return token::IsSpace(c.value) || (c.value >= 0x1C && c.value <= 0x1F);
  };
  while (!text.empty()) {
    const token::CodePoint first = token::ReadUtf8(text, 0);
    if (!blank(first)) break;
    text.remove_prefix(first.bytes);
  }
  while (!text.empty()) {
    const token::CodePoint last = token::ReadUtf8Before(text, text.size());
    if (!blank(last)) break;
    text.remove_suffix(last.bytes);
  }
  return text;
}

std::string HeadOf(const Layout& layout, std::string_view role) {
  return fmt::format("{}{}{}{}", layout.open, role, layout.close, layout.head_end);
}
std::string BodyOf(const Layout& layout, std::string_view content) {
  return fmt::format("{}{}", layout.trimmed ? Trimmed(content) : content, layout.end);
}

}  // namespace

Status EncodeChat(std::span<const Turn> turns, const token::Tokenizer& tokenizer,
                  token::WordCache& cache, token::Ids& ids) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  const auto add = [&](const std::string& text, bool learned) -> Status {
    const size_t from = ids.size();
    DS_TRY(tokenizer.Encode(text, cache, ids));
    for (size_t i = from; i < ids.size() && !learned; ++i) {
      ids[i] = static_cast<int32_t>(static_cast<uint32_t>(ids[i]) | TokenSpan::kNoLoss);
    }
    return {};
  };
  bool answered = false;
  for (const int32_t id : tokenizer.before()) {
    ids.push_back(static_cast<int32_t>(static_cast<uint32_t>(id) | TokenSpan::kNoLoss));
  }
  for (const Turn& turn : turns) {
    const bool answer = turn.role == "assistant";
    answered |= answer;
    const std::string head = HeadOf(layout, turn.role), body = BodyOf(layout, turn.content);
    if (answer) {  // its ids begin where those of a prompt end
      DS_TRY(add(head, false));
      DS_TRY(add(body, true));
    } else {  // as in a prompt, where words may reach over the border
      DS_TRY(add(head + body, false));
    }
    if (*layout.behind != '\0') DS_TRY(add(layout.behind, false));
  }
  if (!answered) {
    return InvalidArgument(
        "has no answer: of {} turns none is the assistant's (role assistant, or "
        "from gpt)",
        turns.size());
  }
  return {};
}

Result<std::string> ChatPrompt(std::string_view question, const token::Tokenizer& tokenizer) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  return HeadOf(layout, "user") + BodyOf(layout, question) + layout.behind +
         HeadOf(layout, "assistant");
}

Result<std::string> ChatTemplate(const token::Tokenizer& tokenizer) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  const auto quoted = [](std::string_view text) {
    std::string literal = "'";
    for (const char c : text) literal += c == '\n' ? "\\n" : std::string(1, c);
    return literal + "'";
  };
  return fmt::format(
      "{{% for message in messages %}}{{{{ {} + message['role'] + {} + message['content']{} + {} "
      "}}}}"
      "{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {} }}}}{{% endif %}}",
      quoted(layout.open), quoted(std::string(layout.close) + layout.head_end),
      layout.trimmed ? " | trim" : "", quoted(std::string(layout.end) + layout.behind),
      quoted(HeadOf(layout, "assistant")));
}

Result<int32_t> EndOfTurn(const token::Tokenizer& tokenizer) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  DS_ASSIGN(const token::Ids end, tokenizer.Encode(layout.end));
  return end.front();
}

}  // namespace ds::data
