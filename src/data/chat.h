// Conversations as tokens. The two layouts whose special tokens a tokenizer can have are written
// out here; templates that come with a model are programs, and are not run.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "data/documents.h"
#include "token/tokenizer.h"

namespace ds::data {

// Whether there is something to learn from a conversation: a turn of role "assistant".
bool HasAnswer(std::span<const Turn> turns);

// Appends a conversation. Its first id has TokenSpan::kBegins, and what is not an answer (role
// "assistant", and the token that ends it) has kNoLoss. Fails where the tokenizer has neither
// <|im_start|> and <|im_end|> nor the headers of Llama 3, or where a conversation has no answer.
Status EncodeChat(std::span<const Turn> turns, const token::Tokenizer& tokenizer,
                  token::WordCache& cache, token::Ids& ids);

// Appends a conversation up to where the next answer begins: the ids that EncodeChat has before it,
// without marks. Fails where EncodeChat does for want of tokens.
Status EncodeQuestion(std::span<const Turn> turns, const token::Tokenizer& tokenizer,
                      token::WordCache& cache, token::Ids& ids);

// The layout as a template that transformers runs (chat_template.jinja beside a tokenizer). Fails
// where EncodeChat does for want of tokens.
Result<std::string> ChatTemplate(const token::Tokenizer& tokenizer);

// The token that ends a turn, and so an answer. Fails where EncodeChat does for want of tokens.
Result<int32_t> EndOfTurn(const token::Tokenizer& tokenizer);

}  // namespace ds::data
