#include "train_flags.h"

#include <cmath>

#include "command.h"
#include "model/family.h"
#include "preset.h"

namespace ds::tool {
namespace {

constexpr double kMostEpochs = 1e6;

}  // namespace

Status CheckFlags(const TrainFlags& flags) {
  const auto least = [](const char* flag, int64_t value, int64_t least) -> Status {
    if (value >= least) return {};
    return InvalidArgument("{} is {}, expected {} or more", flag, value, least);
  };
  if (!flags.data.empty() && !flags.mix.empty()) {
    return InvalidArgument("--data {} and --mix {}: the file names all texts, or none is needed",
                           flags.data[0], flags.mix);
  }
  if (!flags.mix.empty() && (flags.text.format != "auto" || flags.text.field != "text")) {
    return InvalidArgument("--format {}, --field {} and --mix {}: the file says them of each text",
                           flags.text.format, flags.text.field, flags.mix);
  }
  if (flags.asked_steps.has_value()) {
    DS_TRY(least("--steps", *flags.asked_steps, 1));
    if (*flags.asked_steps > kMostSteps) {
      return InvalidArgument("--steps is {}, at most {}", *flags.asked_steps, kMostSteps);
    }
  }
  if (flags.epochs.has_value()) {
    if (flags.asked_steps.has_value()) {
      return InvalidArgument("--epochs {:g} and --steps {}: either says how long the run is",
                             *flags.epochs, *flags.asked_steps);
    }
    if (!(*flags.epochs > 0 && *flags.epochs <= kMostEpochs)) {
      return InvalidArgument("--epochs is {:g}, expected more than 0 and up to {:g}", *flags.epochs,
                             kMostEpochs);
    }
  }
  DS_TRY(least("--trace-events", flags.trace_events(), 1));
  if (flags.trace_events() > int64_t{1} << 26) {
    return InvalidArgument("--trace-events is {}, at most {}", flags.trace_events(), 1 << 26);
  }
  if (flags.asked_trace_events.has_value() && flags.trace.empty()) {
    return InvalidArgument("--trace-events {} goes with --trace FILE", flags.trace_events());
  }
  DS_TRY(least("--save-every", flags.save_every, 0));
  DS_TRY(least("--eval-every", flags.eval_every, 0));
  DS_TRY(least("--threads", flags.threads, 0));
  if (flags.threads > 4096) return InvalidArgument("--threads is {}, at most 4096", flags.threads);
  if (flags.ranks < 1 || flags.ranks > 1024) {
    return InvalidArgument("--ranks is {}, expected 1 to 1024", flags.ranks);
  }
  if (!(flags.timeout > 0 && flags.timeout <= 1e6)) {
    return InvalidArgument("--timeout is {}, expected more than 0 and up to 1e6 seconds",
                           flags.timeout);
  }
  if (flags.resume && flags.save.empty()) {
    return InvalidArgument("--resume goes with --save DIR: the folder that holds the run");
  }
  if (flags.overwrite && flags.save.empty() && flags.log.empty()) {
    return InvalidArgument("--overwrite goes with --save DIR or --log DIR, which hold a run");
  }
  if (flags.overwrite && flags.resume) {
    return InvalidArgument("--overwrite and --resume: a run begins anew, or goes on");
  }
  if (flags.save_every > 0 && flags.save.empty()) {
    return InvalidArgument("--save-every {} goes with --save DIR", flags.save_every);
  }
  if (flags.lr.has_value() && !(*flags.lr >= 0 && std::isfinite(*flags.lr))) {
    return InvalidArgument("--lr is {}, expected a finite number, 0 or more", *flags.lr);
  }
  if (flags.batch.has_value()) {
    DS_TRY(least("--batch", *flags.batch, 1));
    if (*flags.batch > kMostBatch) {
      return InvalidArgument("--batch is {}, at most {}", *flags.batch, kMostBatch);
    }
  }
  return {};
}

void AddTrainFlags(CLI::App& train, const std::shared_ptr<TrainFlags>& flags) {
  Repeated(train.add_option(  // not required: --list-presets needs none
      "--data", flags->data,
      "The text; its last tenth is for validation. Given more than once, as TEXT=WEIGHT, "
      "each has that part of the samples; without =WEIGHT a weight of 1"));
  train.add_option("--mix", flags->mix,
                   "Instead of --data: a JSON file with the texts, their weights and formats");
  AddReadingFlags(train, flags->text);
  Repeated(train.add_option("--special", flags->special,
                            "A special token to add to the tokenizer, and a row for it to the "
                            "model, unless it is there; may be given several times. "
                            "Conversations need '<|im_start|>' and '<|im_end|>'"));
  train.add_option("--vocab", flags->asked_vocab,
                   "Ids that the model has, at least those of the tokenizer; for a file of ids "
                   "without one 50257");
  train
      .add_option("--preset", flags->asked_preset,
                  "Sizes and how to train: " + PresetNames() + ", or a file like theirs")
      ->default_str(flags->preset());
  train.add_flag("--list-presets", flags->list_presets, "Show the presets and their files instead");
  train.add_option(
      "--model", flags->model,
      "Go on from this folder, of Hugging Face or of adapters: " + model::FamilyNames());
  AddLoraFlags(train, flags->lora);
  train.add_option("--family", flags->family,
                   "Of a fresh model: " + model::FamilyNames() + "; default: gpt2");
  train.add_option("--config", flags->config,
                   "A ds_config.json: ZeRO stage, batch, optimizer, ...");
  train.add_option("--layers", flags->layers, "Blocks");
  train.add_option("--heads", flags->heads, "Attention heads of a block");
  train.add_option("--width", flags->width, "Width of the model, a multiple of --heads");
  train.add_option("--context", flags->context, "Tokens of a sequence");
  train.add_option("--batch", flags->batch,
                   "Sequences of a step, over all ranks and micro-batches");
  train.add_option("--steps", flags->asked_steps,
                   "Steps to train, on sequences that are drawn at random; default: as the preset "
                   "says, else 500");
  train.add_option("--epochs", flags->epochs,
                   "Instead: how often to go through the texts, each sequence once an epoch, in "
                   "an order of its own");
  train.add_option(
      "--lr", flags->lr,
      "Learning rate, after warm-up; default: as the config or the preset says, and of a "
      "--model 2e-5, with adapters 2e-4");
  train.add_option("--dropout", flags->dropout,
                   "Share of what training drops, where the family has dropout; default: 0, and "
                   "of a --model what its config says");
  train.add_option("--seed", flags->seed, "Of the initial weights, the samples and dropout")
      ->capture_default_str();
  train.add_option("--dtype", flags->dtype, "fp32, or bf16 or fp16 with fp32 master weights");
  train.add_option("--ranks", flags->asked_ranks,
                   "Ranks, as threads of this process; 1, or under a launcher (mpirun, srun) its "
                   "processes");
  train.add_flag("--mpi", flags->mpi,
                 "Ranks are the processes of an MPI job, also where no launcher is recognised");
  train
      .add_option("--threads", flags->threads,
                  "CPU threads that the ranks share; 0: one a core. Results do not depend on it")
      ->capture_default_str();
  train.add_flag(
      "--recompute", flags->recompute,
      "Keep the inputs of blocks only and compute the rest again: less memory, same bits");
  train
      .add_option("--eval-every", flags->eval_every,
                  "Steps between validations; 0: as the preset says, else a tenth of the run")
      ->capture_default_str();
  train.add_option("--log", flags->log,
                   "Folder for log.jsonl, log.csv, curves for TensorBoard, loss.svg and run.svg");
  train.add_option("--trace", flags->trace,
                   "File for what each rank did when, for ui.perfetto.dev or chrome://tracing");
  train.add_option("--trace-events", flags->asked_trace_events,
                   "Events of a thread that --trace keeps: the last ones, 64 bytes each; default: "
                   "65536");
  train.add_option("--save", flags->save,
                   "Folder for the model (as Hugging Face has it) and what a resume needs");
  train
      .add_option("--save-every", flags->save_every,
                  "Steps between saves, each after a validation; 0: at the end only")
      ->capture_default_str();
  train.add_flag("--resume", flags->resume,
                 "Continue the run in the folder of --save, or begin it where that has none yet");
  train.add_flag("--overwrite", flags->overwrite,
                 "Begin anew where --save or --log holds a run, or a model that no run wrote");
  train.add_option("--timeout", flags->timeout, "Seconds that a rank waits for another")
      ->capture_default_str();
  const auto group = [&](const char* name, std::initializer_list<const char*> options) {
    for (const char* option : options) train.get_option(option)->group(name);
  };
  group("What is trained", {"--data", "--mix", "--format", "--field", "--tokenizer", "--special",
                            "--vocab", "--preset", "--list-presets", "--model", "--base",
                            "--family", "--layers", "--heads", "--width", "--context"});
  group("How it is trained", {"--config", "--batch", "--steps", "--epochs", "--lr", "--dropout",
                              "--seed", "--dtype", "--lora-rank", "--lora-alpha", "--lora-targets",
                              "--lora-dropout", "--lora-rslora", "--lora-embeddings"});
  group("Where it runs", {"--ranks", "--mpi", "--threads", "--recompute", "--timeout"});
  group("What it leaves", {"--log", "--eval-every", "--trace", "--trace-events", "--save",
                           "--save-every", "--resume", "--overwrite"});
}

}  // namespace ds::tool
