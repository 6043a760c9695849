// Documents through a tokenizer, on all threads, in order: the ids do not depend on how many
// threads there are.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "base/status.h"
#include "base/task_pool.h"
#include "data/documents.h"
#include "token/tokenizer.h"

namespace ds::data {

struct EncodeProgress {
  int64_t bytes_done = 0, bytes = 0;  // of the files
  int64_t documents = 0, tokens = 0;
  int64_t unanswered = 0;  // conversations that were left out: nothing is learned from them
};

// Where there may be several documents, the ids that the tokenizer puts before a text stand before
// each, and its end-of-text behind it; a tokenizer without one ends it with a line end.
//
// `sink` gets the ids piece by piece; those of conversations have the marks of TokenSpan where they
// belong, and those without an answer are left out; a file of these alone is refused. `progress`
// is called now and then; false ends it with kCancelled. Memory is bounded by the largest document,
// and some 16 MiB of text.
Status EncodeDocuments(Documents& documents, const token::Tokenizer& tokenizer, TaskPool& pool,
                       FunctionRef<Status(std::span<const int32_t>)> sink,
                       FunctionRef<bool(const EncodeProgress&)> progress);

// All characters of the documents, and what ends one where there may be several.
Result<std::unique_ptr<token::Tokenizer>> CharactersOf(std::span<Documents> sources);

}  // namespace ds::data
