// What the commands that read a text have in common: where it lies, what it is, and how it is cut
// into tokens.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "data/corpus.h"
#include "token/tokenizer.h"

namespace ds::tool {

struct TextFlags {
  std::string data, format = "auto", field = "text";
  std::string tokenizer;  // "": bytes for a text, none for a file of ids
};

// --data, --format, --field and --tokenizer, of which `what` says what the data is for; all but the
// first of them; all but the last; the two in the middle.
void AddTextFlags(CLI::App& command, TextFlags& flags, const std::string& what);
void AddReadingFlags(CLI::App& command, TextFlags& flags);
void AddDataFlags(CLI::App& command, TextFlags& flags, const std::string& what);
void AddFormatFlags(CLI::App& command, TextFlags& flags);

struct Text {
  data::Source source;
  std::unique_ptr<token::Tokenizer> tokenizer;  // null: the data are ids, and none was named
};

Result<Text> OpenText(const TextFlags& flags);
// The tokenizer that the name says; "chars" is made from the sources, and without a name a text has
// bytes.
Result<std::unique_ptr<token::Tokenizer>> OpenTokenizer(const std::string& name,
                                                        std::span<const data::Source> sources);

// A model in whose folder there is no tokenizer, as `none` says, learned from bytes if it has as
// many ids: a refusal of any other.
Status CheckLearnedBytes(const Status& none, int64_t vocab);

// Of what the model of a folder was trained with: --tokenizer, or else what the first of the
// folders that has one holds, or bytes where none does and the vocabulary is that of bytes. The
// last folder is the one of the vocabulary.
Result<std::unique_ptr<token::Tokenizer>> OpenModelTokenizer(const std::string& name,
                                                             std::vector<std::string> folders,
                                                             int64_t vocab);

// Of conversations that are not read, behind what is said of the others; "" of none.
std::string LeftOutText(int64_t unanswered);

}  // namespace ds::tool
