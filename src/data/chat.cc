#include "data/chat.h"

#include <optional>

#include "data/tokens.h"

namespace ds::data {
namespace {

struct Layout {
  const char *open, *close_role, *end, *behind;
  bool trimmed;  // contents are without white space around them
};
constexpr Layout kChatMl = {"<|im_start|>", "\n", "<|im_end|>", "\n", false};
constexpr Layout kLlama3 = {"<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "", true};

Result<Layout> LayoutFor(const token::Tokenizer& tokenizer) {
  for (const Layout& layout : {kChatMl, kLlama3}) {
    auto open = tokenizer.Encode(layout.open), end = tokenizer.Encode(layout.end);
    if (open.ok() && end.ok() && open->size() == 1 && end->size() == 1 &&
        tokenizer.IsSpecial(open->front())) {
      return layout;
    }
  }
  return Error(Code::kUnsupported,
               "a conversation needs the tokens <|im_start|> and <|im_end|>, or those of Llama 3; "
               "this tokenizer has neither (dspeed tokenizer train --special gives them to one)");
}

std::string Trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
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
    const std::string content = layout.trimmed ? Trimmed(turn.content) : turn.content;
    DS_TRY(add(layout.open + turn.role + layout.close_role, false));
    DS_TRY(add(content + layout.end, answer));
    if (*layout.behind != '\0') DS_TRY(add(layout.behind, false));
  }
  if (!answered) return InvalidArgument("messages: none of {} has role assistant", turns.size());
  return {};
}

Result<int32_t> EndOfTurn(const token::Tokenizer& tokenizer) {
  DS_ASSIGN(const Layout layout, LayoutFor(tokenizer));
  DS_ASSIGN(const token::Ids end, tokenizer.Encode(layout.end));
  return end.front();
}

}  // namespace ds::data
