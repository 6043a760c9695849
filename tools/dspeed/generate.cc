// dspeed generate
#include "infer/generate.h"
#include "infer/generation_config.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/json.h"
#include "base/utf8.h"
#include "command.h"
#include "data/chat.h"
#include "interrupt.h"
#include "line_reader.h"
#include "loaded_model.h"
#include "stop_text.h"

namespace ds::tool {
namespace {

struct GenerateFlags {
  std::string model, base, tokenizer;
  std::vector<std::string> prompts;
  std::vector<std::string> stop;
  int64_t tokens = 256;
  uint64_t seed = 0;
  infer::GenerationConfig asked;  // of these what was given, over what the model's folder says
  std::optional<std::string> dtype;
  int threads = 0;
  bool json = false, chat = false;
  std::string system;  // of a conversation
  bool turns = false;
};

// Why a text ends where it does.
const char* Reason(bool ended, bool stopped) {
  return ended ? "end of text" : stopped ? "stop" : Interrupted() != 0 ? "interrupted" : "length";
}

// Of --stop: special tokens, which no text shows, by their ids; and texts.
struct Stops {
  std::vector<int32_t> ends;  // of texts, as the model says
  std::vector<int32_t> ids;
  std::vector<std::string> texts;
};

Result<Stops> FindStops(const GenerateFlags& flags, const LoadedModel& loaded) {
  Stops stops;
  for (const std::string& stop : flags.stop) {
    auto ids = loaded.tokenizer->Encode(stop);
    const bool special = ids.ok() && std::any_of(ids->begin(), ids->end(), [&](int32_t id) {
                           return loaded.tokenizer->IsSpecial(id);
                         });
    if (!special) {
      stops.texts.push_back(stop);
    } else if (ids->size() == 1) {
      stops.ids.push_back(ids->front());
    } else {
      return InvalidArgument("--stop: {} is a special token and more: give the token alone", stop);
    }
  }
  return stops;
}

// Continues prompts, one after the other.
class Speaker {
 public:
  Speaker(const GenerateFlags& flags, const infer::GenerateOptions& options, const Stops& stops,
          LoadedModel& loaded)
      : flags_(flags), options_(options), stops_(stops), loaded_(loaded) {
    if (!flags.system.empty()) turns_.push_back({"system", flags.system});
  }

  // To the terminal as it comes, or as one line of JSON at its end. Of a question the answer alone
  // is shown.
  Status Continue(const std::string& asked);
  // Each line of standard input, as it comes.
  Status ContinueLines();

 private:
  Result<token::Ids> Encode(const std::string& asked);

  const GenerateFlags& flags_;
  const infer::GenerateOptions& options_;
  const Stops& stops_;
  LoadedModel& loaded_;
  std::vector<data::Turn> turns_;  // of a conversation, what stands before the next question
  int64_t dropped_ = 0;            // of its turns, for want of room
};

Result<token::Ids> Speaker::Encode(const std::string& asked) {
  if (!flags_.chat) return loaded_.Encode(asked);
  turns_.push_back({"user", asked});
  const auto oldest = turns_.begin() + (flags_.system.empty() ? 0 : 1);
  const int64_t room = loaded_.model->context() -
                       std::min(flags_.tokens, loaded_.model->context() / 2);  // for the answer
  token::Ids ids;
  token::WordCache cache;
  // Of a conversation that has become too long the oldest questions go, each with its answer.
  for (auto kept = oldest;; kept += 2) {
    std::vector<data::Turn> turns(turns_.begin(), oldest);
    turns.insert(turns.end(), kept, turns_.end());
    ids.clear();
    DS_TRY(data::EncodeQuestion(turns, *loaded_.tokenizer, cache, ids));
    if (std::ssize(ids) > room && turns_.end() - kept > 1) continue;
    if (kept != oldest) {
      Say(stderr, "dspeed generate: the {} oldest turns are dropped: the model sees {} tokens\n",
          dropped_ += kept - oldest, loaded_.model->context());
    }
    turns_ = std::move(turns);
    return ids;
  }
}

Status Speaker::Continue(const std::string& asked) {
  const size_t before = turns_.size();
  DS_ASSIGN(const token::Ids ids, Encode(asked));
  if (const int64_t context = loaded_.model->context(); std::ssize(ids) > context) {
    Say(stderr, "dspeed generate: of the {} tokens of the prompt the model sees the last {}\n",
        ids.size(), context);
  }
  StopText text(stops_.texts);
  std::string shown;
  std::vector<int32_t> added;
  const auto show = [&](const std::string& piece) {
    shown += piece;
    if (flags_.json) return true;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    return std::fflush(stdout) == 0;
  };
  bool writes = flags_.json || flags_.chat || show(asked), ended = false, stopped = false;
  const auto holds = [](const std::vector<int32_t>& some, int32_t token) {
    return std::find(some.begin(), some.end(), token) != some.end();
  };
  const Status status = infer::Generate(*loaded_.model, ids, options_, [&](int32_t token) {
    added.push_back(token);
    ended = token == loaded_.tokenizer->end_of_text() || holds(stops_.ends, token);
    stopped = !ended && holds(stops_.ids, token);
    if (ended || stopped) return false;
    writes = show(text.Add(loaded_.Decode(token)));
    stopped = text.stopped();
    return writes && !stopped && Interrupted() == 0;
  });
  if (!status.ok()) {
    show(text.Finish() + "\n");  // so that the message is not behind the text
    return status;
  }
  writes = writes && show(text.Finish());
  if (flags_.turns) {
    turns_.push_back({"assistant", LossyUtf8(shown)});  // it may end within a character
  } else {
    turns_.resize(before);
  }
  if (flags_.json) {
    const nlohmann::ordered_json json = {{"prompt", asked},
                                         {"text", shown},
                                         {"prompt_ids", ids},
                                         {"ids", added},
                                         {"ended_by", Reason(ended, stopped)}};
    shown = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::fwrite(shown.data(), 1, shown.size(), stdout);
  }
  std::fputc('\n', stdout);
  std::fflush(stdout);  // who asks line by line waits for it
  return {};
}

Status Speaker::ContinueLines() {
  int64_t prompts = 0;
  LineReader lines;
  for (std::string prompt;;) {
    DS_ASSIGN(const bool more, lines.Next(prompt));
    if (!more || Interrupted() != 0) break;
    if (prompt.ends_with('\r')) prompt.pop_back();
    if (prompt.empty()) continue;
    ++prompts;
    const Status status = Continue(prompt);
    if (!status.ok()) {
      return Error(status.code(), "line {} of standard input: {}", lines.number(),
                   status.message());
    }
    if (std::ferror(stdout) != 0) return {};  // main() says so
  }
  if (prompts == 0 && Interrupted() == 0) {
    return InvalidArgument("--prompt is -, and standard input has no line of text");
  }
  return {};
}

Status Generate(const GenerateFlags& flags) {
  for (const auto& [flag, words] :
       {std::pair("--prompt", &flags.prompts), std::pair("--stop", &flags.stop)}) {
    for (const std::string& word : *words) {
      if (word.empty()) return InvalidArgument("{} is empty, expected at least one byte", flag);
    }
  }
  if (!flags.chat && (flags.turns || !flags.system.empty())) {
    return InvalidArgument("{} goes with --chat", flags.turns ? "--turns" : "--system");
  }
  if (flags.tokens < 0 || flags.tokens > INT32_MAX) {
    return InvalidArgument("--tokens is {}, expected 0 to {}", flags.tokens, INT32_MAX);
  }
  DS_TRY(CheckUtf8(flags.system, "--system"));
  infer::GenerateOptions options{.tokens = flags.tokens, .sampling = {.seed = flags.seed}};
  flags.asked.Apply(options.sampling);
  DS_TRY(options.sampling.Check());  // before the model is read
  // A prompt has no more tokens than bytes, of which NFC makes three at most, but for the few that
  // a tokenizer adds. Of lines and answers that are to come nothing is known.
  int64_t tokens = 0;
  bool lines = flags.turns;
  for (const std::string& prompt : flags.prompts) {
    lines |= prompt == "-";
    const int64_t bytes = std::ssize(flags.system) + std::ssize(prompt);
    tokens = std::max(tokens, 3 * bytes + 64 + flags.tokens);
  }
  DS_ASSIGN(const auto loaded, OpenModel({.folder = flags.model,
                                          .base = flags.base,
                                          .tokenizer = flags.tokenizer,
                                          .dtype = flags.dtype,
                                          .threads = flags.threads,
                                          .cache_tokens = lines ? 0 : tokens}));
  options.sampling = {.seed = flags.seed};
  DS_ASSIGN(const infer::GenerationConfig generation,
            infer::ReadGenerationConfig(loaded->generation_folder, loaded->config));
  generation.Apply(options.sampling);
  flags.asked.Apply(options.sampling);
  if (!options.sampling.Check().ok()) DS_TRY(generation.Check());
  for (const std::string& what : generation.not_done) {
    Say(stderr, "dspeed generate: {} asks for {}, which is not done here\n", generation.path, what);
  }
  DS_ASSIGN(Stops stops, FindStops(flags, *loaded));
  stops.ends = generation.end_ids;
  if (flags.chat) {  // whatever else the model was made for, an answer ends where its turn does
    DS_ASSIGN(const int32_t end, data::EndOfTurn(*loaded->tokenizer));
    stops.ends.push_back(end);
  }
  CatchInterrupts();
  Speaker speaker(flags, options, stops, *loaded);
  for (const std::string& prompt : flags.prompts) {
    if (prompt == "-") {
      DS_TRY(speaker.ContinueLines());
    } else if (const Status status = speaker.Continue(prompt); !status.ok()) {
      return Error(status.code(), "--prompt: {}", status.message());
    }
    if (Interrupted() != 0) {
      LeaveUnfinished();
      return Error(Code::kCancelled, "interrupted");
    }
  }
  return {};
}

}  // namespace

void AddGenerate(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<GenerateFlags>();
  infer::GenerationConfig& asked = flags->asked;
  CLI::App& generate = *app.add_subcommand("generate", "Continue a text with a trained model");
  AddModelFlags(generate, flags->model, flags->base);
  generate.add_option("--tokenizer", flags->tokenizer,
                      "Another than the one in that folder: bytes, a folder or a file");
  Repeated(generate.add_option(
               "--prompt", flags->prompts,
               "The text to continue, each of several by itself; -: each line of standard input "
               "is one, but for empty lines, and each is continued as if it were alone"))
      ->required();
  generate
      .add_option("--tokens", flags->tokens,
                  "Tokens to add at most; of more than its context holds the model sees the "
                  "last")
      ->capture_default_str();
  Repeated(generate.add_option("--stop", flags->stop,
                               "Ends the text before this string, or at this special token; may be "
                               "given several times"));
  generate.add_option(
      "--temperature", asked.temperature,
      "0: always the likeliest token; 1: as the model says. The default of this and "
      "the next four is what the model's generation_config.json says, or else 1");
  generate.add_option("--top-k", asked.top_k,
                      "Choose among the k likeliest; 0: among all, which is the default");
  generate.add_option("--top-p", asked.top_p,
                      "Choose among the likeliest that together have this probability; 1, the "
                      "default: among all");
  generate.add_option("--min-p", asked.min_p,
                      "Leave out what is less than this many times as likely as the likeliest; "
                      "default: 0");
  generate.add_option("--repetition-penalty", asked.repetition_penalty,
                      "Above 1: makes tokens that are there already less likely, 1.1 to 1.3 are "
                      "usual; 1, the default: off; below 1: more likely");
  generate.add_option("--seed", flags->seed, "The same seed gives the same text")
      ->capture_default_str();
  generate.add_flag("--chat", flags->chat,
                    "The prompt is a question to a model of conversations: it is laid out as they "
                    "were in training, and the answer alone is shown");
  generate.add_option("--system", flags->system,
                      "With --chat: what the model is told before the question, as a turn of role "
                      "system");
  generate.add_flag(
      "--turns", flags->turns,
      "With --chat: the prompts are turns of one conversation instead of one each; the "
      "oldest are dropped when the context has no room for them and the answer");
  generate.add_flag("--json", flags->json,
                    "One JSON object a prompt, with the text that was added and the ids");
  generate.add_option("--dtype", flags->dtype,
                      "fp32, bf16 or fp16; default: as the model was saved");
  generate.add_option("--threads", flags->threads, "CPU threads; 0: one a core")
      ->capture_default_str();
  generate.footer(
      "Examples\n"
      "  dspeed generate --model model --prompt 'Once ' --temperature 0.8 --top-p 0.95\n"
      "  dspeed generate --model model --prompt - --json --stop . < prompts.txt\n"
      "  dspeed generate --model chat-model --chat --prompt 'What is a whale?'\n"
      "  dspeed generate --model chat-model --chat --turns --prompt -");
  generate.callback([&chosen, flags] { chosen = [flags] { return Generate(*flags); }; });
}

}  // namespace ds::tool
