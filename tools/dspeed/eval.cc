// dspeed eval
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/file.h"
#include "base/json.h"
#include "command.h"
#include "data/encode.h"
#include "data/token_file.h"
#include "data/tokens.h"
#include "infer/text_score.h"
#include "interrupt.h"
#include "loaded_model.h"
#include "npy.h"
#include "text.h"

namespace ds::tool {
namespace {

struct EvalFlags {
  std::string model, base, per_token;
  TextFlags text;
  std::optional<std::string> dtype;
  infer::ScoreOptions score;
  int threads = 0;
  bool json = false;
};

struct Score {
  int64_t tokens = 0, predicted = 0;
  int64_t bytes = 0;       // of text that the predicted tokens stand for
  int64_t unanswered = 0;  // conversations that are left out
  double nats = 0;         // lost over all of them
  double seconds = 0;

  double loss() const { return nats / static_cast<double>(predicted); }
  double bits_per_byte() const { return nats / std::log(2.0) / static_cast<double>(bytes); }
};

// What is measured.
struct Tokens {
  std::vector<int32_t> ids;
  std::vector<bool> asked;            // those of conversations that are no answer; empty: none
  std::vector<int64_t> begins = {0};  // of conversations, which do not see each other
  int64_t bytes = 0;                  // that the predicted ids stand for
  int64_t unanswered = 0;             // conversations that are left out

  // Whether the loss of an id counts.
  bool counts(size_t i) const { return asked.empty() || !asked[i]; }
};

Status Measure(const EvalFlags& flags, LoadedModel& loaded, const Tokens& tokens, Score& score) {
  std::optional<NpyFile> file;  // before the work, for it may not be writable
  if (!flags.per_token.empty()) {
    DS_ASSIGN(NpyFile created, NpyFile::Create(flags.per_token, score.tokens - 1));
    file.emplace(std::move(created));
  }
  const auto start = std::chrono::steady_clock::now();
  Status written;
  size_t at = 0;
  const auto add = [&](double log_probability) {
    if (tokens.counts(++at)) {
      score.nats -= log_probability;
      ++score.predicted;
    }
    if (file.has_value()) written = file->Append(static_cast<float>(log_probability));
    return written.ok() && Interrupted() == 0;
  };
  DS_TRY(infer::ScoreText(*loaded.model, tokens.ids, tokens.begins, flags.score, add));
  DS_TRY(written);
  if (at + 1 < tokens.ids.size()) {
    LeaveUnfinished();
    return Error(Code::kCancelled, "interrupted after {} of {} tokens", at, score.tokens);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  score.seconds = seconds.count();
  return file.has_value() ? file->Commit() : Status();
}

void PrintJson(const EvalFlags& flags, const LoadedModel& loaded, const infer::ScoreOptions& used,
               const Score& score) {
  const nlohmann::ordered_json json = {
      {"model", flags.model},
      {"data", flags.text.data},
      {"dtype", DTypeName(loaded.weights->dtype())},
      {"context", used.context},
      {"stride", used.stride},
      {"tokens", score.tokens},
      {"predicted", score.predicted},
      {"bytes", score.bytes},
      {"unanswered", score.unanswered},
      {"loss", score.loss()},
      {"perplexity", std::exp(score.loss())},
      {"bits_per_byte", score.bytes > 0 ? Json(score.bits_per_byte()) : Json()},
      {"seconds", score.seconds},
      {"tokens_per_second", static_cast<double>(score.predicted) / score.seconds}};
  Say("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

void PrintText(const EvalFlags& flags, const LoadedModel& loaded, const infer::ScoreOptions& used,
               const Score& score) {
  Say("model            {}, {}\n", flags.model, DTypeName(loaded.weights->dtype()));
  Say("text             {}: {} tokens, {} of them {}{}\n", flags.text.data, score.tokens,
      score.predicted, flags.text.format == "chat" ? "of answers" : "predicted",
      LeftOutText(score.unanswered));
  Say("windows          {} tokens, {} new in each\n", used.context, used.stride);
  Say("loss             {:.4f} nats a {}\n", score.loss(),
      loaded.tokenizer == nullptr ? "token" : loaded.tokenizer->unit());
  Say("perplexity       {:.4f}\n", std::exp(score.loss()));
  if (score.bytes > 0) Say("bits per byte    {:.4f}\n", score.bits_per_byte());
  Say("speed            {:.0f} tokens/s\n", static_cast<double>(score.predicted) / score.seconds);
  if (!flags.per_token.empty()) Say("each token       {}\n", flags.per_token);
}

// Ids of one text as a whole, as generation reads a prompt.
Result<Tokens> ReadText(const std::string& path, const LoadedModel& loaded) {
  DS_ASSIGN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  auto ids = loaded.Encode(text);
  if (!ids.ok()) return Error(ids.status().code(), "{}: {}", path, ids.status().message());
  Tokens tokens;
  tokens.ids = std::move(ids).Take();
  tokens.bytes = std::ssize(text);
  if (!tokens.ids.empty()) tokens.bytes -= std::ssize(loaded.Decode(tokens.ids.front()));
  return tokens;
}

// Texts or conversations one behind the other, or ids, as training reads them.
Result<Tokens> ReadTokens(const data::Source& source, LoadedModel& loaded) {
  if (source.text == data::TextFormat::kText) return ReadText(source.path, loaded);
  Tokens tokens;
  std::vector<int32_t>& all = tokens.ids;
  if (source.text.has_value()) {
    DS_ASSIGN(data::Documents documents,
              data::Documents::Open(source.path, *source.text, source.field));
    DS_TRY(data::EncodeDocuments(
        documents, *loaded.tokenizer, loaded.pool,
        [&](std::span<const int32_t> ids) {
          all.insert(all.end(), ids.begin(), ids.end());
          return Status();
        },
        [&](const data::EncodeProgress& now) {
          tokens.unanswered = now.unanswered;
          return Interrupted() == 0;
        }));
  } else {
    DS_ASSIGN(const data::TokenFile file, data::TokenFile::Open(source.path));
    DS_TRY(data::CheckIds(file.tokens(), loaded.model->vocab(), file.path()));
    file.tokens().Typed([&](const auto* ids) { all.assign(ids, ids + file.tokens().size()); });
  }
  if (source.text == data::TextFormat::kChat) {
    for (size_t i = 0; i < all.size(); ++i) {
      const auto id = static_cast<uint32_t>(all[i]);
      tokens.asked.push_back(!data::TokenSpan::IsLearned(id));
      if (i > 0 && data::TokenSpan::Begins(id)) {
        tokens.begins.push_back(static_cast<int64_t>(i));
      }
      all[i] = static_cast<int32_t>(data::TokenSpan::Id(id));
    }
  }
  for (size_t i = 1; loaded.tokenizer != nullptr && i < all.size(); ++i) {
    if (tokens.counts(i)) tokens.bytes += std::ssize(loaded.Decode(all[i]));
  }
  return tokens;
}

Status Eval(const EvalFlags& flags) {
  const std::string& data = flags.text.data;
  DS_TRY(CheckOther("--per-token", flags.per_token, data));
  std::error_code none;  // a folder that is not there is the model's error
  for (const auto& file : std::filesystem::directory_iterator(flags.model, none)) {
    DS_TRY(CheckOther("--per-token", flags.per_token, file.path().string()));
  }
  DS_ASSIGN(const auto source, data::Source::Find(data, flags.text.format, flags.text.field));
  if (std::error_code error; !std::filesystem::exists(data, error)) {  // before a model is read
    return Error(Code::kNotFound, "{}: cannot open: {}", data,
                 error ? error.message() : "No such file or directory");
  }
  DS_ASSIGN(const auto loaded, OpenModel({.folder = flags.model,
                                          .base = flags.base,
                                          .tokenizer = flags.text.tokenizer,
                                          .dtype = flags.dtype,
                                          .threads = flags.threads,
                                          .reads_text = source.text.has_value()}));
  CatchInterrupts();
  Score score;
  DS_ASSIGN(const Tokens tokens, ReadTokens(source, *loaded));
  score.tokens = std::ssize(tokens.ids);
  score.bytes = tokens.bytes;
  score.unanswered = tokens.unanswered;
  if (tokens.ids.size() < 2) {
    return InvalidArgument("{}: has {} tokens, at least 2 are needed: the first is not predicted",
                           data, tokens.ids.size());
  }
  bool any = false;
  for (size_t i = 1; i < tokens.ids.size() && !any; ++i) any = tokens.counts(i);
  if (!any) return InvalidArgument("{}: has no answer", data);
  auto used = infer::ResolveScore(flags.score, *loaded->model);
  if (!used.ok()) {
    const auto said = [](const char* flag, int64_t value) {
      return value == 0 ? "" : fmt::format("{} {}: ", flag, value);
    };
    return Error(used.status().code(), "{}{}{}", said("--context", flags.score.context),
                 said("--stride", flags.score.stride), used.status().message());
  }
  DS_TRY(Measure(flags, *loaded, tokens, score));
  flags.json ? PrintJson(flags, *loaded, *used, score) : PrintText(flags, *loaded, *used, score);
  return {};
}

}  // namespace

void AddEval(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<EvalFlags>();
  CLI::App& eval = *app.add_subcommand("eval", "Measure how well a model foretells a text");
  AddModelFlags(eval, flags->model, flags->base);
  eval.add_option("--data", flags->text.data,
                  "The text, all of it: every token but the first is predicted once; of "
                  "conversations (--format chat) the answers count")
      ->required();
  AddFormatFlags(eval, flags->text);
  eval.add_option("--tokenizer", flags->text.tokenizer,
                  "Another than the one in that folder: bytes, a folder or a file");
  eval.add_option("--context", flags->score.context,
                  "Tokens that the model reads at once; 0: as many as it can")
      ->capture_default_str();
  eval.add_option("--stride", flags->score.stride,
                  "Tokens that are new in each window but the first; 0: half the context. Smaller: "
                  "each prediction sees more of the text, and it takes longer")
      ->capture_default_str();
  eval.add_option("--dtype", flags->dtype, "fp32, bf16 or fp16; default: as the model was saved");
  eval.add_option("--per-token", flags->per_token,
                  "Write the log-probability of each predicted token to this file, as a NumPy "
                  "array of fp32: element i is of token i + 1, NaN where a conversation begins");
  eval.add_flag("--json", flags->json, "As JSON");
  eval.add_option("--threads", flags->threads, "CPU threads; 0: one a core")->capture_default_str();
  eval.footer(
      "Example\n"
      "  dspeed eval --model model --data held-out.txt --stride 32");
  eval.callback([&chosen, flags] { chosen = [flags] { return Eval(*flags); }; });
}

}  // namespace ds::tool
