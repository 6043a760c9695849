#include "text.h"

#include <algorithm>
#include <vector>

#include "data/encode.h"
#include "progress.h"
#include "token/plain_tokenizers.h"

namespace ds::tool {

void AddFormatFlags(CLI::App& command, TextFlags& flags) {
  command
      .add_option("--format", flags.format,
                  "text (a file or a folder), jsonl, chat (JSON lines with messages), tokens "
                  "(llm.c, nanoGPT, Megatron); auto: by the name")
      ->capture_default_str();
  command.add_option("--field", flags.field, "The key of the text in JSON lines")
      ->capture_default_str();
}

void AddTextFlags(CLI::App& command, TextFlags& flags, const std::string& what) {
  command.add_option("--data", flags.data, what)->required();
  AddReadingFlags(command, flags);
}

void AddDataFlags(CLI::App& command, TextFlags& flags, const std::string& what) {
  command.add_option("--data", flags.data, what)->required();
  AddFormatFlags(command, flags);
}

void AddReadingFlags(CLI::App& command, TextFlags& flags) {
  AddFormatFlags(command, flags);
  command.add_option("--tokenizer", flags.tokenizer,
                     "bytes, chars, or a folder with a tokenizer.json, or the file, or a tiktoken "
                     "file; without it bytes");
}

Result<Text> OpenText(const TextFlags& flags) {
  Text text;
  DS_ASSIGN(text.source, data::Source::Find(flags.data, flags.format, flags.field));
  DS_ASSIGN(text.tokenizer, OpenTokenizer(flags.tokenizer, {&text.source, 1}));
  return text;
}

Result<std::unique_ptr<token::Tokenizer>> OpenTokenizer(const std::string& name,
                                                        std::span<const data::Source> sources) {
  if (name == "chars") {
    std::vector<data::Documents> all;
    for (const data::Source& source : sources) {
      if (!source.text.has_value() || *source.text == data::TextFormat::kChat) {
        return InvalidArgument("--tokenizer chars: {} is not a text to take characters from",
                               source.path);
      }
      DS_ASSIGN(data::Documents documents,
                data::Documents::Open(source.path, *source.text, source.field));
      all.push_back(std::move(documents));
    }
    return data::CharactersOf(all);
  }
  if (!name.empty()) return token::Tokenizer::Open(name);
  const bool text = std::any_of(sources.begin(), sources.end(),
                                [](const data::Source& source) { return source.text.has_value(); });
  return text ? token::MakeByteTokenizer() : nullptr;
}

Status CheckLearnedBytes(const Status& none, int64_t vocab) {
  if (vocab == token::MakeByteTokenizer()->vocab()) return {};
  return Error(Code::kNotFound, "{}; --tokenizer names one: bytes, if it learned from bytes",
               none.message());
}

Result<std::unique_ptr<token::Tokenizer>> OpenModelTokenizer(const std::string& name,
                                                             std::vector<std::string> folders,
                                                             int64_t vocab) {
  const std::string folder = folders.back();
  if (!name.empty()) folders = {name};
  for (const std::string& path : folders) {
    auto tokenizer = token::Tokenizer::Open(path);
    const bool last = path == folders.back();
    if (tokenizer.status().code() == Code::kNotFound && !last) continue;
    if (name.empty() && tokenizer.status().code() == Code::kNotFound) {
      DS_TRY(CheckLearnedBytes(tokenizer.status(), vocab));
      break;
    }
    if (tokenizer.ok() && (*tokenizer)->vocab() > vocab) {
      return InvalidArgument("{}: the tokenizer has {} ids, the model of {} reads {}", path,
                             (*tokenizer)->vocab(), folder, vocab);
    }
    return tokenizer;
  }
  return token::MakeByteTokenizer();
}

std::string LeftOutText(int64_t unanswered) {
  if (unanswered == 0) return "";
  return fmt::format("; left out: {} without an answer", Counted(unanswered, "conversation"));
}

}  // namespace ds::tool
