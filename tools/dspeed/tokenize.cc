// dspeed tokenize, dspeed tokenizer train
#include <fmt/ranges.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "base/utf8.h"
#include "command.h"
#include "data/chat.h"
#include "data/encode.h"
#include "interrupt.h"
#include "progress.h"
#include "save_folder.h"
#include "text.h"
#include "token/bpe_trainer.h"

namespace ds::tool {
namespace {

double Megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

bool GoesOn() {
  if (Interrupted() != 0) LeaveUnfinished();
  return Interrupted() == 0;
}

// How much of the text is done, rewritten in place on a terminal; silent anywhere else.
class TextProgress {
 public:
  ~TextProgress() {
    if (open_) std::fputc('\n', stderr);
  }
  void Show(int64_t done, int64_t bytes, const std::string& what) {
    const auto now = Clock::now();
    if (!terminal_ || now - shown_ < std::chrono::milliseconds(200)) return;
    shown_ = now;
    const double each = seconds() / static_cast<double>(std::max<int64_t>(1, done));
    Say(stderr, "\r\033[K{:.0f} of {:.0f} MB  {}  {:.1f} MB/s  ETA {}", Megabytes(done),
        Megabytes(bytes), what, 1e-6 / each,
        DurationText(each * static_cast<double>(std::max<int64_t>(0, bytes - done))));
    std::fflush(stderr);
    open_ = true;
  }
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  const bool terminal_ = Progress::Wanted();
  const Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = {};
  bool open_ = false;
};

struct TokenizeFlags {
  TextFlags text;
  std::string out, layout = "llmc";
  int threads = 0;
};

// Ids as llm.c or nanoGPT lay them out; the header of the former comes last, with their number.
class IdFile {
 public:
  static Result<IdFile> Create(const std::string& path, bool header, int64_t vocab) {
    DS_ASSIGN(AtomicFile file, AtomicFile::Create(path));
    IdFile ids(std::move(file), path, header, vocab <= 65536);
    const std::vector<int32_t> empty = ids.Header();
    if (header) DS_TRY(ids.file_.Write(std::as_bytes(std::span(empty))));
    return ids;
  }

  Status Write(std::span<const int32_t> ids) {
    count_ += static_cast<int64_t>(ids.size());
    if (header_ && count_ > INT32_MAX) {
      return Error(Code::kUnsupported,
                   "{}: more than {} ids, which the header of llm.c cannot say: cut the text, or "
                   "use --layout nanogpt",
                   path_, INT32_MAX);
    }
    if (!narrow_) return file_.Write(std::as_bytes(ids));
    scratch_.assign(ids.begin(), ids.end());
    return file_.Write(std::as_bytes(std::span(scratch_)));
  }

  Status Finish() {
    const std::vector<int32_t> header = Header();
    if (header_) DS_TRY(file_.WriteAt(0, std::as_bytes(std::span(header))));
    return file_.Commit();
  }

 private:
  IdFile(AtomicFile file, std::string path, bool header, bool narrow)
      : file_(std::move(file)), path_(std::move(path)), header_(header), narrow_(narrow) {}

  std::vector<int32_t> Header() const {
    std::vector<int32_t> header(256);
    header[0] = narrow_ ? 20240520 : 20240801;
    header[1] = narrow_ ? 1 : 7;
    header[2] = static_cast<int32_t>(count_);
    return header;
  }

  AtomicFile file_;
  std::string path_;
  bool header_, narrow_;
  int64_t count_ = 0;
  std::vector<uint16_t> scratch_;
};

Status Tokenize(const TokenizeFlags& flags) {
  if (flags.threads < 0 || flags.threads > 4096) {
    return InvalidArgument("--threads is {}, expected 0 to 4096", flags.threads);
  }
  if (flags.layout != "llmc" && flags.layout != "nanogpt") {
    return InvalidArgument("--layout is {}, expected llmc or nanogpt", flags.layout);
  }
  DS_ASSIGN(const Text text, OpenText(flags.text));
  if (!text.source.text.has_value()) {
    return InvalidArgument("{}: holds ids already, expected a text", flags.text.data);
  }
  if (*text.source.text == data::TextFormat::kChat) {
    return InvalidArgument(
        "--format chat: a file of ids cannot say which are learned; give "
        "the conversations to dspeed train");
  }
  const token::Tokenizer& tokenizer = *text.tokenizer;
  if (flags.layout == "nanogpt" && tokenizer.vocab() > 65536) {
    return InvalidArgument("--layout nanogpt has ids below 65536, the tokenizer has {}",
                           tokenizer.vocab());
  }
  DS_TRY(CheckOther("--out", flags.out, flags.text.data));
  DS_ASSIGN(data::Documents documents,
            data::Documents::Open(flags.text.data, *text.source.text, flags.text.field));
  DS_ASSIGN(IdFile out, IdFile::Create(flags.out, flags.layout == "llmc", tokenizer.vocab()));
  TaskPool pool(CpuThreads(flags.threads));
  CatchInterrupts();
  data::EncodeProgress last;
  TextProgress progress;
  DS_TRY(data::EncodeDocuments(
      documents, tokenizer, pool, [&](std::span<const int32_t> ids) { return out.Write(ids); },
      [&](const data::EncodeProgress& now) {
        last = now;
        progress.Show(now.bytes_done, now.bytes, fmt::format("{} tokens", now.tokens));
        return GoesOn();
      }));
  if (last.tokens == 0) return InvalidArgument("{}: is empty", flags.text.data);
  DS_TRY(out.Finish());
  // A tokenizer made of this text is needed to read the ids again; that of earlier ids would read
  // these wrongly.
  const std::string beside = flags.out + ".tokenizer";
  std::error_code none;
  if (flags.text.tokenizer == "chars") {
    DS_TRY(tokenizer.Save(beside));
  } else if (!std::filesystem::equivalent(beside, flags.text.tokenizer, none)) {
    const std::string stale = beside + "/characters.json";
    std::filesystem::remove(stale, none);
    if (none && none != std::errc::not_a_directory) {
      return Error(Code::kIo, "{}: cannot remove: {}", stale, none.message());
    }
    std::filesystem::remove(beside, none);  // if nothing else is in it
  }
  const double seconds = std::max(1e-9, progress.seconds());
  Say("tokens    {} of {}, {:.2f} bytes a token\n", last.tokens,
      Counted(last.documents, "document"),
      static_cast<double>(last.bytes) / static_cast<double>(last.tokens));
  Say("time      {:.2f} s, {:.1f} MB/s\n", seconds, Megabytes(last.bytes) / seconds);
  Say("written   {} ({}, vocabulary {})\n", flags.out, tokenizer.description(), tokenizer.vocab());
  const std::string& name = flags.text.tokenizer;
  Say("to train  dspeed train --data {} --tokenizer {}\n", flags.out,
      name.empty()      ? "bytes"
      : name == "chars" ? beside
                        : name);
  return {};
}

struct LearnFlags {
  TextFlags text;
  std::vector<std::string> special;
  int64_t vocab = 0;
  std::string split = "gpt2", out;
  bool overwrite = false;
};

Status Learn(const LearnFlags& flags) {
  const auto rule = token::SplitRuleOfName(flags.split);
  if (!rule.has_value()) {
    return InvalidArgument("--split is {}, expected gpt2, llama3, qwen2 or smollm", flags.split);
  }
  DS_ASSIGN(const Text text, OpenText(flags.text));
  if (!text.source.text.has_value()) {
    return InvalidArgument("{}: holds ids, expected a text to learn words from", flags.text.data);
  }
  DS_ASSIGN(token::BpeTrainer trainer,
            token::BpeTrainer::Create(*rule, flags.vocab, flags.special));
  DS_ASSIGN(data::Documents documents,
            data::Documents::Open(flags.text.data, *text.source.text, flags.text.field));
  DS_TRY(CheckWritable(flags.out));
  DS_ASSIGN(const auto lock, FolderLock::TakeOut(flags.out));
  DS_TRY(CheckTokenizerOut(flags.out, flags.overwrite));
  CatchInterrupts();
  TextProgress progress;
  for (data::Document document;;) {
    DS_ASSIGN(const bool more, documents.Next(document));
    if (!more) break;
    DS_TRY(CheckUtf8(document.text, document.what));
    trainer.Add(document.text);
    for (const data::Turn& turn : document.turns) {
      trainer.Add(turn.role + '\n');  // as a conversation is laid out
      trainer.Add(turn.content);
    }
    progress.Show(documents.bytes_done(), documents.bytes(), "read");
    if (!GoesOn()) return Error(Code::kCancelled, "interrupted");
  }
  if (documents.bytes() == 0) return InvalidArgument("{}: is empty", flags.text.data);
  DS_ASSIGN(token::BpeParts parts, trainer.Train([](int64_t) { return GoesOn(); }));
  const auto learned = static_cast<int64_t>(parts.tokens.size());
  DS_ASSIGN(const auto tokenizer, token::BpeTokenizer::Create(std::move(parts)));
  auto chat = data::ChatTemplate(*tokenizer);
  if (chat.ok()) tokenizer->Carry({token::kChatTemplate, std::move(chat).Take()});
  DS_TRY(SaveTokenizer(flags.out, *tokenizer));
  Say("tokens    {}{}\n", learned,
      learned < flags.vocab ? ": no further pair stands twice in the text" : "");
  Say("special   <|endoftext|>{}{}\n", flags.special.empty() ? "" : " ",
      fmt::join(flags.special, " "));
  Say("time      {}\n", DurationText(progress.seconds()));
  Say("written   {}/tokenizer.json\n", flags.out);
  return {};
}

}  // namespace

void AddTokenize(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<TokenizeFlags>();
  CLI::App& tokenize = *app.add_subcommand("tokenize", "Turn a text into a file of token ids");
  AddTextFlags(tokenize, flags->text, "The text");
  tokenize.add_option("--out", flags->out, "The file of ids")->required();
  tokenize
      .add_option("--layout", flags->layout,
                  "llmc (a header, then uint16 or uint32), nanogpt (uint16 alone)")
      ->capture_default_str();
  tokenize
      .add_option("--threads", flags->threads,
                  "CPU threads; 0: one a core. The ids do not depend "
                  "on it")
      ->capture_default_str();
  tokenize.callback([&chosen, flags] { chosen = [flags] { return Tokenize(*flags); }; });
}

void AddTokenizer(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<LearnFlags>();
  CLI::App& tokenizer = *app.add_subcommand("tokenizer", "Make tokenizers");
  tokenizer.require_subcommand(1);
  CLI::App& train = *tokenizer.add_subcommand(
      "train", "Learn a byte-level BPE from a text, as a Hugging Face tokenizer.json");
  AddDataFlags(train, flags->text, "The text");
  train
      .add_option("--vocab", flags->vocab,
                  "Tokens, with the 256 bytes, <|endoftext|> and --special")
      ->required();
  Repeated(train.add_option("--special", flags->special,
                            "A token that no text teaches; may be given several times. "
                            "Conversations (train --format chat) need '<|im_start|>' and "
                            "'<|im_end|>'"));
  train
      .add_option("--split", flags->split,
                  "How words are split: gpt2, llama3, qwen2 or smollm (as gpt2, digits by "
                  "themselves)")
      ->capture_default_str();
  train.add_option("--out", flags->out, "The folder for the tokenizer")->required();
  train.add_flag("--overwrite", flags->overwrite,
                 "Replace the tokenizer that is in the folder of --out");
  train.callback([&chosen, flags] { chosen = [flags] { return Learn(*flags); }; });
}

}  // namespace ds::tool
