// dspeed train
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <optional>

#include <fmt/ranges.h>

#include "base/file.h"
#include "comm/launcher.h"
#include "command.h"
#include "engine/assembly.h"
#include "interrupt.h"
#include "loss_plot.h"
#include "matmul_speed.h"
#include "mebibytes.h"
#include "memory_forecast.h"
#include "preset.h"
#include "progress.h"
#include "rank_trainer.h"
#include "save_folder.h"
#include "trace_file.h"
#include "train_log.h"
#include "train_plan.h"
#include "zero/agreement.h"

namespace ds::tool {
namespace {

using device::MemoryKind;

// What the ranks share. Rank 0 alone writes to it, and any that it began.
struct Run {
  const TrainPlan& plan;
  const data::Mix& texts;
  const token::Tokenizer* tokenizer;  // null: the text came as ids
  const double entropy;
  std::optional<checkpoint::RunManifest> resumed;
  TaskPool& pool;
  kernels::Gemm& gemm;
  std::optional<TrainLog> log;
  std::optional<Progress> progress;
  double peak_flops = 0;  // of the machine; 0: not measured
  std::atomic<bool> began = false;

  const char* unit() const { return tokenizer == nullptr ? "token" : tokenizer->unit(); }
};

// What makes the ranks do the same things in the same order, where each reads flags and folders for
// itself.
Status AgreeOnRun(comm::Communicator& comm, const Run& run) {
  const TrainFlags& flags = run.plan.flags;
  std::string lines = flags.epochs.has_value() ? fmt::format("--epochs {}", *flags.epochs)
                                               : fmt::format("--steps {}", flags.steps);
  lines += fmt::format("\n--context {}\n--seed {}\n--eval-every {}", run.plan.context, flags.seed,
                       flags.eval_every);
  lines += fmt::format("\n{}\n--save-every {}", flags.save.empty() ? "no --save" : "--save",
                       flags.save_every);
  for (size_t i = 0; i < run.texts.size(); ++i) {
    lines += fmt::format("\n{} of the samples from {}{}", run.texts.part(i),
                         run.texts.corpus(i).conversations() ? "conversations of " : "",
                         run.texts.corpus(i).path());
  }
  std::string before = "no run to go on from";
  if (run.resumed.has_value()) {
    const std::string facts = DumpJson(run.resumed->facts);
    before =
        fmt::format("a run to go on from, at step {} (save {}, checksum {:016x})",
                    run.resumed->step, run.resumed->save, XXH3_64bits(facts.data(), facts.size()));
  }
  return zero::AgreeOn(comm, "train", zero::SettingsOf(lines + "\n" + before));
}

int64_t TrainedParameters(const model::Model& model) {
  int64_t count = 0;
  for (const model::Param* param : model.params()) {
    if (param->spec.trainable) count += param->spec.numel();
  }
  return count;
}

// The largest rate of the run, and who says so; a schedule may have one of its own.
std::string RateText(const TrainPlan& plan) {
  const auto& [rule, schedule] = std::pair(plan.engine.optimizer, plan.engine.scheduler);
  const Json none = Json::object();
  const auto rate_of = [&](const Json& section, const char* key) {
    const Json params = section.value("params", none);
    return params.value(key, Json());
  };
  const Json own = schedule.is_object() ? rate_of(schedule, "warmup_max_lr") : Json();
  const Json lr = rate_of(rule, "lr");
  std::string text = own.is_number() && own != lr
                         ? fmt::format("{:g} (warmup_max_lr)", own.get<double>())
                     : lr.is_number() ? fmt::format("{:g} ({})", lr.get<double>(), plan.lr_from)
                                      : "as the config says";
  text += ", " + rule.value("type", "");
  return schedule.is_object() ? text + ", " + schedule.value("type", "") : text;
}

void PrintStart(const Run& run, RankTrainer& trainer) {
  const TrainPlan& plan = run.plan;
  const EngineConfig& config = plan.engine;
  const auto& memory = trainer.engine().memory();
  const int64_t state = memory.bytes(MemoryKind::kWeights) + memory.bytes(MemoryKind::kGradients) +
                        memory.bytes(MemoryKind::kMaster) + memory.bytes(MemoryKind::kMoments);
  const std::string most = ContextNote(plan);
  Say("model     {}, {} layers, {} heads, width {}, context {}{}: {:.2f} M parameters, {}\n",
      plan.model.family->model_type, plan.model.layers, plan.model.heads, plan.model.width,
      plan.context, most.empty() ? "" : " (" + most + ")",
      static_cast<double>(plan.model.parameters()) / 1e6, DTypeName(config.dtype));
  for (size_t i = 0; i < run.texts.size(); ++i) {
    const data::Corpus& text = run.texts.corpus(i);
    Say("text      {}: {} {}s, {}{} of them for validation{}{}\n", text.path(), text.all().size(),
        run.unit(),
        text.conversations() ? fmt::format("{} of them of answers, ", text.learned()) : "",
        text.validation().text().size(),
        run.texts.size() == 1 ? ""
                              : fmt::format("; {:.1f} % of the samples", 100 * run.texts.part(i)),
        LeftOutText(text.unanswered()));
    if (const int64_t cut = text.train().cut() + text.validation().cut(); cut > 0) {
      Say("          {} longer than --context {}: cut into sequences that do not see "
          "each other\n",
          Counted(cut, "conversation"), plan.context);
    }
  }
  if (const auto epochs = plan.flags.epochs) {
    Say("epochs    {:g} of {}: {}\n", *epochs, Counted(run.texts.train_windows(), "sequence"),
        Counted(plan.flags.steps, "step"));
  }
  const model::DecoderConfig& model = plan.model;
  if (model.attention_dropout + model.embedding_dropout + model.residual_dropout > 0) {
    Say("dropout   attention {:g}, embeddings {:g}, residuals {:g}\n", model.attention_dropout,
        model.embedding_dropout, model.residual_dropout);
  }
  if (const model::LoraConfig* lora = trainer.model().lora(); lora != nullptr) {
    const auto size = lora->CommonSize();
    Say("adapters  {}, {}beside {}: {:.3f} M parameters are trained\n",
        size ? fmt::format("rank {}, alpha {:g}", size->rank, size->alpha)
             : "ranks and alphas of their own",
        lora->dropout > 0 ? fmt::format("dropout {:g}, ", lora->dropout) : "",
        model::ProductsText(*lora), static_cast<double>(TrainedParameters(trainer.model())) / 1e6);
  }
  if (plan.model.vocab != 256) {
    Say("tokens    {}, vocabulary {}\n",
        run.tokenizer == nullptr ? "as they lie in the file" : run.tokenizer->description(),
        plan.model.vocab);
  }
  Say("ranks     {} ({}), ZeRO {}\n", plan.flags.ranks, trainer.engine().comm().backend(),
      trainer.engine().store().placement().name);
  Say("batch     {} sequences = {} a micro-batch x {} micro-batches x {} ranks\n",
      config.train_batch, config.micro_batch, config.accumulation, plan.flags.ranks);
  Say("rate      lr {}\n", RateText(plan));
  Say("compute   {}, products by {}\n", Counted(CpuThreads(plan.flags.threads), "thread"),
      run.gemm.description());
  Say("memory    a rank: {:.1f} MiB of state, {:.1f} MiB of activations\n", MiB(state),
      MiB(trainer.model().PlanActivationBytes(config.micro_batch, plan.context)));
  std::fflush(stdout);
}

Status WritePlot(const Run& run) {
  const std::string title = fmt::format(
      "{}: {}, ZeRO stage {}, {}", run.texts.name(), Counted(run.plan.flags.ranks, "rank"),
      run.plan.engine.zero.stage, DTypeName(run.plan.engine.dtype));
  const PlotOptions options = {title, run.entropy, run.unit()};
  const auto& entries = run.log->entries();
  DS_TRY(WriteFileAtomic(run.log->folder() + "/loss.svg", LossPlot(entries, options)));
  return WriteFileAtomic(run.log->folder() + "/run.svg", RunPlot(entries, options));
}

void PrintEnd(const Run& run, RankTrainer& trainer, const LogEntry& last, bool stopped,
              double seconds, int64_t steps_now, bool saved) {
  const TrainFlags& flags = run.plan.flags;
  const double tokens = static_cast<double>(last.tokens) * static_cast<double>(steps_now) /
                        static_cast<double>(std::max<int64_t>(1, last.step));
  if (steps_now == 0 && !stopped) {
    Say("done      nothing is left to train: the run is at step {}{}\n", last.step,
        last.step > flags.steps ? fmt::format(", past the {} asked for", flags.steps)
                                : fmt::format(" of {}", flags.steps));
  } else {
    Say("{}{} of {} steps; {} in {}, {:.0f} tokens/s\n", stopped ? "stopped   " : "done      ",
        last.step, flags.steps, steps_now, DurationText(seconds),
        seconds > 0 ? tokens / seconds : 0.0);
  }
  if (const int64_t skipped = trainer.engine().stats().skipped; skipped > 0) {
    Say("skipped   {} of {} steps: their gradients were not finite\n", skipped, last.step);
  }
  if (steps_now > 0) {
    Say("training loss      {:.4f} nats a {} (the last step)\n", last.loss, run.unit());
  }
  if (last.val_loss.has_value()) {
    Say("validation loss    {:.4f} nats a {} = {:.4f} bits\n", *last.val_loss, run.unit(),
        *last.val_loss / std::log(2.0));
  }
  for (size_t i = 0; i < last.val_losses.size(); ++i) {
    Say("  of {:<15} {:.4f}\n", run.texts.corpus(i).path(), last.val_losses[i]);
  }
  Say("unigram entropy    {:.4f} nats a {} (a model that knows no context)\n", run.entropy,
      run.unit());
  Say("memory peak        {:.1f} MiB a rank\n", MiB(trainer.engine().memory().peak()));
  Say("process peak       {:.1f} MiB\n", MiB(PeakResidentBytes()));
  if (!flags.log.empty()) {
    Say("log                {0}/log.jsonl, log.csv, loss.svg, run.svg; tensorboard --logdir {0}\n",
        flags.log);
  }
  if (!flags.save.empty()) {
    Say("{:<19}{} (step {})\n", saved || steps_now > 0 ? "saved" : "kept", flags.save, last.step);
    if (stopped) Say("to go on           the same command with --resume\n");
  } else {
    Say("nothing was saved: --save DIR was not given\n");
  }
  std::fflush(stdout);
}

// As the config says, or DeepSpeed's ten; but a long run has some twenty lines, not thousands.
int64_t PrintEvery(const TrainPlan& plan) {
  const int64_t asked = plan.engine.steps_per_print > 0 ? plan.engine.steps_per_print : 10;
  return std::max(asked, (plan.flags.steps + 19) / 20);
}

// The steps of one rank, in step with the others.
class RankLoop {
 public:
  RankLoop(Run& run, RankTrainer& trainer, bool speaks)
      : run_(run), flags_(run.plan.flags), trainer_(trainer), speaks_(speaks) {}

  Status Go() {
    const int64_t first = run_.resumed.has_value() ? run_.resumed->step : 0;
    if (run_.resumed.has_value()) DS_TRY(trainer_.Restore(flags_.save, *run_.resumed));
    if (speaks_) DS_TRY(Begin(first));
    run_.began = true;
    LogEntry entry;
    entry.step = saved_ = first;
    const auto start = std::chrono::steady_clock::now();
    Status status;
    while (status.ok() && entry.step < flags_.steps && !stop_) status = Step(entry);
    if (!status.ok()) {
      // What led there is what one wants to look at; the failure is the message all the same.
      if (speaks_ && run_.log.has_value()) (void)WritePlot(run_);
      return status;
    }
    if (first >= flags_.steps) DS_TRY(CheckDone(entry));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const bool saves = !flags_.save.empty() && saved_ < entry.step;
    if (saves) DS_TRY(Save(entry));
    if (speaks_) {
      const bool stopped = stop_ && entry.step < flags_.steps;
      run_.progress->Finish();
      if (run_.log.has_value()) DS_TRY(WritePlot(run_));
      PrintEnd(run_, trainer_, entry, stopped, seconds.count(), entry.step - first, saves);
      if (stopped) LeaveUnfinished();
    }
    return {};
  }

 private:
  Status Begin(int64_t first) {
    PrintStart(run_, trainer_);
    if (first > 0) Say("resumed   {} at step {}\n", flags_.save, first);
    std::fflush(stdout);
    const auto tokens = run_.plan.engine.train_batch * run_.plan.context;
    run_.progress.emplace(
        Progress::Work{.first = first,
                       .steps = flags_.steps,
                       .tokens_a_step = static_cast<double>(tokens),
                       .flops_a_token = run_.plan.model.TrainFlopsPerToken(run_.plan.context),
                       .peak_flops = run_.peak_flops,
                       .print_every = PrintEvery(run_.plan)});
    if (flags_.log.empty()) return {};
    DS_ASSIGN(TrainLog log, TrainLog::Open(flags_.log, first));
    if (!log.note().empty()) Say("log       {}\n", log.note());
    run_.log.emplace(std::move(log));
    return {};
  }

  Status Step(LogEntry& entry) {
    const EngineConfig& config = run_.plan.engine;
    const int64_t tokens = config.train_batch * run_.plan.context;
    const zero::PhaseSeconds before = trainer_.engine().stats().phases;
    const auto start = std::chrono::steady_clock::now();
    DS_ASSIGN(const StepResult result, trainer_.Step(entry.step));
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
    // In fp16 such a step is skipped, and the loss scale falls.
    if (!std::isfinite(result.loss) && config.dtype != DType::kF16) {
      return Error(Code::kInvalidState, "step {}: the loss is {}: nothing more is trained or saved",
                   entry.step + 1, result.loss);
    }
    ++entry.step;
    entry = {.step = entry.step,
             .loss = result.loss,
             .grad_norm = result.info.grad_norm,
             .lr = result.info.lr,
             .tokens = entry.step * tokens,
             .ms = ms.count(),
             .skipped = result.info.skipped,
             .loss_scale = result.info.loss_scale,
             .val_loss = {},
             .val_losses = {},
             .samples = entry.step * config.train_batch,
             .phases = PhasesSince(before),
             .memory = MemoryNow()};
    stop_ = result.stop;
    // The loss of a step is that of the weights before it: what is saved is looked at first.
    const bool saves = flags_.save_every > 0 && entry.step % flags_.save_every == 0;
    if (saves || stop_ || entry.step == flags_.steps || entry.step % flags_.eval_every == 0) {
      DS_TRY(Validate(entry));
    }
    if (speaks_) DS_TRY(Tell(entry));
    if (saves) DS_TRY(Save(entry));
    return {};
  }

  Status Validate(LogEntry& entry) {
    DS_ASSIGN(ValidationLosses losses, trainer_.ValidationLoss());
    entry.val_loss = losses.mean;
    if (losses.each.size() > 1) entry.val_losses = std::move(losses.each);
    return {};
  }

  PhaseMs PhasesSince(const zero::PhaseSeconds& before) {
    const zero::PhaseSeconds now = trainer_.engine().stats().phases;
    return {.gather = 1e3 * (now.gather - before.gather),
            .reduce = 1e3 * (now.reduce - before.reduce),
            .norm = 1e3 * (now.norm - before.norm),
            .update = 1e3 * (now.update - before.update)};
  }
  std::array<int64_t, device::kMemoryKinds> MemoryNow() {
    std::array<int64_t, device::kMemoryKinds> bytes;
    for (int kind = 0; kind < device::kMemoryKinds; ++kind) {
      bytes[static_cast<size_t>(kind)] =
          trainer_.engine().memory().bytes(static_cast<MemoryKind>(kind));
    }
    return bytes;
  }

  // What the monitor of the config is told by who knows the losses.
  Status TellMonitor(const LogEntry& entry) {
    Monitor* monitor = trainer_.engine().monitor();
    if (monitor == nullptr) return {};
    std::vector<Scalar> losses = {{"Train/Samples/train_loss", entry.loss}};
    if (entry.val_loss.has_value()) losses.push_back({"Train/Samples/val_loss", *entry.val_loss});
    monitor->Write(entry.samples, losses);
    return monitor->status();
  }

  Status Tell(const LogEntry& entry) {
    run_.progress->Show(entry);
    DS_TRY(TellMonitor(entry));
    return run_.log.has_value() ? run_.log->Append(entry) : Status();
  }

  // A run that is resumed at its end. Its model is written again where another run's save, which
  // came to its end by half, has replaced it.
  Status CheckDone(LogEntry& entry) {
    DS_TRY(Validate(entry));
    if (flags_.save.empty()) return {};
    DS_ASSIGN(const bool there, trainer_.ModelIsThere());
    if (!there) saved_ = -1;
    return {};
  }

  // What gave a loss that is not finite is not written over an earlier save. A step that was
  // skipped left the weights as they were.
  Status Save(const LogEntry& entry) {
    const double validation = entry.val_loss.value_or(0);
    const bool trained = entry.skipped || std::isfinite(entry.loss);
    if (!trained || !std::isfinite(validation)) {
      return Error(Code::kInvalidState, "step {}: the {} is {}: it is not saved", entry.step,
                   trained ? "validation loss" : "loss", trained ? validation : entry.loss);
    }
    saved_ = entry.step;
    return trainer_.Save(flags_.save, entry.step);
  }

  Run& run_;
  const TrainFlags& flags_;
  RankTrainer& trainer_;
  const bool speaks_;
  bool stop_ = false;
  int64_t saved_ = 0;
};

// CPU threads of this process. Processes of a job on one host have its cores between them.
int PoolThreads(const TrainFlags& flags, const comm::Communicator* group) {
  const int threads = CpuThreads(flags.threads);
  return group != nullptr ? std::max(1, threads / group->local_size())
                          : TaskPool::SizeFor(threads, flags.ranks);
}

// One a rank of this process, or none.
std::vector<std::unique_ptr<Trace>> MakeTraces(const TrainFlags& flags, bool one_rank) {
  std::vector<std::unique_ptr<Trace>> traces;
  const int count = flags.trace.empty() ? 0 : one_rank ? 1 : flags.ranks;
  while (std::ssize(traces) < count) {
    traces.push_back(std::make_unique<Trace>(static_cast<size_t>(flags.trace_events())));
  }
  return traces;
}

// A process of a job writes its own rank's, the first under the name that was given.
std::string TracePath(const TrainFlags& flags, const comm::Communicator* group) {
  if (group == nullptr || group->rank() == 0) return flags.trace;
  return fmt::format("{}.rank-{}", flags.trace, group->rank());
}

Status WriteTraces(const std::string& path, int first_rank,
                   const std::vector<std::unique_ptr<Trace>>& traces) {
  std::vector<RankTrace> ranks;
  for (const auto& trace : traces) {
    ranks.push_back({first_rank + static_cast<int>(ranks.size()), trace.get()});
  }
  return ranks.empty() ? Status() : WriteTrace(path, ranks);
}

// A run that goes on learns at the rate that it had, where nobody says another.
Status TakeRate(TrainFlags& flags) {
  if (!flags.resume || flags.save.empty()) return {};
  DS_ASSIGN(const auto run, ReadRun(flags));
  const Json lr = run.has_value() ? run->facts.value("learning rate", Json()) : Json();
  if (lr.is_number()) flags.lr_of_run = lr.get<double>();
  return {};
}

// What a run wrote is not replaced by a slip.
Status CheckLog(const std::string& folder) {
  DS_ASSIGN(const int64_t steps, TrainLog::LastStep(folder));
  if (steps == 0) return {};
  return InvalidArgument(
      "--log is {}, which holds {} of another run: give another folder, or --overwrite to replace "
      "them",
      folder, Counted(steps, "step"));
}

// `group`: this process's rank among others, or null where the ranks are threads of this one.
Status Train(TrainFlags flags, comm::Communicator* group) {
  DS_ASSIGN(const TrainText source, OpenTrainText(flags));
  const token::Tokenizer* const tokenizer = source.tokenizer.get();
  DS_TRY(TakeRate(flags));
  DS_ASSIGN(TrainPlan plan, PlanTraining(flags));
  TaskPool pool(PoolThreads(flags, group));
  DS_ASSIGN(const data::Mix texts, data::Mix::Open(source.sources, tokenizer, plan.model.vocab,
                                                   plan.context, flags.order(), pool));
  if (flags.epochs.has_value()) {
    DS_ASSIGN(plan, PlanEpochs(flags, plan.engine.train_batch, texts.train_windows()));
  }
  const bool speaks = group == nullptr || group->rank() == 0;
  std::optional<FolderLock> lock, log_lock;
  const auto gemm = CreateGemm();
  if (group == nullptr) DS_TRY(CheckFits(plan, *gemm));
  if (speaks) DS_TRY(CheckSave(plan, tokenizer));
  if (speaks && !flags.save.empty()) {
    DS_TRY(CheckWritable(flags.save));
    DS_ASSIGN(FolderLock taken, FolderLock::Take(flags.save));
    lock.emplace(std::move(taken));
    DS_TRY(CheckWritable(StateFolder(flags.save)));
  }
  if (speaks && !flags.log.empty()) {
    DS_TRY(CheckWritable(flags.log));
    DS_ASSIGN(FolderLock taken, FolderLock::TakeLog(flags.log));
    log_lock.emplace(std::move(taken));
  }
  for (const data::WeightedSource& text : source.sources) {
    DS_TRY(CheckOther("--trace", flags.trace, text.source.path));
  }
  if (!flags.trace.empty()) {
    DS_ASSIGN(AtomicFile probe, AtomicFile::Create(TracePath(flags, group)));
    (void)probe;  // gone again here
  }
  DS_ASSIGN(auto resumed, FindResumed(flags, speaks));
  if (speaks && !flags.log.empty() && !flags.resume && !flags.overwrite) {
    DS_TRY(CheckLog(flags.log));
  }
  // What a resume compares. Once: a file that is written to meanwhile is not what the run began
  // with.
  std::vector<std::string> checksums;
  for (size_t i = 0; !flags.save.empty() && i < texts.size(); ++i) {
    const auto bytes = texts.corpus(i).all().bytes();
    checksums.push_back(fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size())));
  }
  Run run{.plan = plan,
          .texts = texts,
          .tokenizer = tokenizer,
          .entropy = data::UnigramEntropy(texts.all(), plan.model.vocab),
          .resumed = std::move(resumed),
          .pool = pool,
          .gemm = *gemm,
          .log = {},
          .progress = {}};
  if (speaks && Progress::Wanted()) {
    TaskPool all(CpuThreads(flags.threads));
    run.peak_flops = MatmulFlops(*gemm, all, plan.engine.dtype, 0.1);
  }
  CatchInterrupts();  // until here there is nothing to save
  CatchBrokenPipes();
  const auto traces = MakeTraces(flags, group != nullptr);
  const auto rank = [&](comm::Communicator& comm) -> Status {
    const size_t mine = group != nullptr ? 0 : static_cast<size_t>(comm.rank());
    const Trace::Thread records(traces.empty() ? nullptr : traces[mine].get(), "rank");
    DS_TRY(AgreeOnRun(comm, run));
    if (group != nullptr && !flags.save.empty())
      DS_TRY(CheckOneFolder(comm, flags.save, flags.timeout));
    DS_ASSIGN(const auto trainer,
              RankTrainer::Create(plan, texts, checksums, tokenizer, comm, run.pool, *gemm));
    return RankLoop(run, *trainer, comm.rank() == 0).Go();
  };
  const Status trained =
      group != nullptr ? rank(*group)
                       : comm::RunThreads(flags.ranks, {.timeout_seconds = flags.timeout}, rank);
  // Of a run that failed too: it shows where. Nothing of one that did not begin.
  const bool begun = trained.ok() || run.began;
  if (!begun || traces.empty()) return trained;
  const Status traced =
      WriteTraces(TracePath(flags, group), group != nullptr ? group->rank() : 0, traces);
  if (speaks && traced.ok()) Say("trace              {}\n", flags.trace);
  if (!trained.ok() && !traced.ok()) Say(stderr, "trace: {}\n", traced.message());
  return trained.ok() ? traced : trained;
}

// As one rank of a job. What the others were told of another rank's failure, rank 0 says.
Status TrainInJob(TrainFlags flags) {
  DS_TRY(CheckFlags(flags));
  DS_ASSIGN(const auto group, comm::CreateMpi({.timeout_seconds = flags.timeout}, nullptr));
  if (flags.asked_ranks.has_value() && *flags.asked_ranks != group->size()) {
    const Status differ = InvalidArgument("--ranks is {}, but the launcher started {} processes",
                                          *flags.asked_ranks, group->size());
    return group->rank() == 0 ? differ : Status(differ.code(), "");
  }
  flags.ranks = group->size();
  const Status status = Train(flags, group.get());
  if (status.ok()) return status;
  group->Abort(status);
  if (group->rank() == 0) return status;
  const bool told = status.code() == Code::kRankLost || status.code() == Code::kRankMismatch;
  return told ? Status(status.code(), "")
              : Error(status.code(), "rank {}: {}", group->rank(), status.message());
}

Status Start(TrainFlags flags) {
  if (flags.mpi || comm::FindLaunch()) return TrainInJob(flags);
  flags.ranks = flags.asked_ranks.value_or(1);
  return Train(flags, nullptr);
}

}  // namespace

void AddTrain(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<TrainFlags>();
  CLI::App& train = *app.add_subcommand("train", "Train a language model on a text");
  AddTrainFlags(train, flags);
  train.footer(
      "Examples\n"
      "  dspeed train --data book.txt --log log --save model\n"
      "  dspeed train --data book.txt=0.7 --data talk.jsonl=0.3 --log log --save model\n"
      "  dspeed train --data book.txt --ranks 4 --config zero3.json --dtype bf16 --save model\n"
      "  mpirun -n 4 dspeed train --data book.txt --save model --resume");
  train.callback([&chosen, flags] {
    if (flags->list_presets) {
      chosen = ListPresets;
      return;
    }
    if (flags->data.empty() && flags->mix.empty()) throw CLI::RequiredError("--data or --mix");
    chosen = [flags] { return Start(*flags); };
  });
}

}  // namespace ds::tool
