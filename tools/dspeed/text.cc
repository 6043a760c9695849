#include "text.h"

#include "data/encode.h"
#include "token/plain_tokenizers.h"

namespace ds::tool {

void AddTextFlags(CLI::App& command, TextFlags& flags, const std::string& what) {
  command.add_option("--data", flags.data, what)->required();
  command
      .add_option("--format", flags.format,
                  "text (a file or a folder), jsonl, chat (JSON lines with messages), tokens "
                  "(llm.c, nanoGPT, Megatron); auto: by the name")
      ->capture_default_str();
  command.add_option("--field", flags.field, "The key of the text in JSON lines")
      ->capture_default_str();
  command.add_option("--tokenizer", flags.tokenizer,
                     "bytes, chars, or a folder with a tokenizer.json, or the file, or a tiktoken "
                     "file; without it bytes");
}

Result<Text> OpenText(const TextFlags& flags) {
  Text text;
  DS_ASSIGN(text.source, data::Source::Find(flags.data, flags.format, flags.field));
  if (flags.tokenizer == "chars") {
    if (!text.source.text.has_value() || *text.source.text == data::TextFormat::kChat) {
      return InvalidArgument("--tokenizer chars: {} is not a text to take characters from",
                             flags.data);
    }
    DS_ASSIGN(data::Documents documents,
              data::Documents::Open(flags.data, *text.source.text, flags.field));
    DS_ASSIGN(text.tokenizer, data::CharactersOf(documents));
  } else if (!flags.tokenizer.empty()) {
    DS_ASSIGN(text.tokenizer, token::Tokenizer::Open(flags.tokenizer));
  } else if (text.source.text.has_value()) {
    text.tokenizer = token::MakeByteTokenizer();
  }
  return text;
}

Result<std::unique_ptr<token::Tokenizer>> OpenModelTokenizer(const std::string& name,
                                                             const std::string& folder,
                                                             int64_t vocab) {
  auto tokenizer = token::Tokenizer::Open(name.empty() ? folder : name);
  if (name.empty() && tokenizer.status().code() == Code::kNotFound && vocab == 256) {
    return token::MakeByteTokenizer();
  }
  if (tokenizer.ok() && (*tokenizer)->vocab() > vocab) {
    return InvalidArgument("{}: the tokenizer has {} ids, the model of {} reads {}",
                           name.empty() ? folder : name, (*tokenizer)->vocab(), folder, vocab);
  }
  return tokenizer;
}

}  // namespace ds::tool
