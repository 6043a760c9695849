// dspeed plan
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/host.h"
#include "base/json.h"
#include "comm/launcher.h"
#include "command.h"
#include "engine/assembly.h"
#include "mebibytes.h"
#include "memory_forecast.h"
#include "preset.h"
#include "train_plan.h"

namespace ds::tool {
namespace {

void PrintJson(const TrainPlan& plan, const MemoryForecast& forecast) {
  nlohmann::ordered_json json = {{"ranks", plan.flags.ranks},
                                 {"stage", plan.engine.zero.stage},
                                 {"dtype", DTypeName(plan.engine.dtype)},
                                 {"parameters", plan.model.parameters()},
                                 {"micro_batch", plan.engine.micro_batch},
                                 {"accumulation", plan.engine.accumulation}};
  for (const MemoryForecast::Part& part : forecast.parts) {
    json["rank_bytes"][part.name] = part.bytes;
  }
  json["rank_total_bytes"] = forecast.rank_bytes;
  json["process_bytes"] = forecast.process_bytes;
  json["peak_bytes"] = forecast.peak_bytes;
  json["machine_bytes"] = MachineMemory();
  json["usable_bytes"] = UsableMemory();
  json["fits"] = forecast.peak_bytes <= UsableMemory();
  Say("{}\n", json.dump(2));
}

void PrintText(const TrainPlan& plan, const MemoryForecast& forecast) {
  const int ranks = plan.flags.ranks;
  Say("{:.2f} M parameters, {}, {} {}, ZeRO {}\n",
      static_cast<double>(plan.model.parameters()) / 1e6, DTypeName(plan.engine.dtype), ranks,
      ranks == 1 ? "rank" : "ranks", zero::PlacementOf(plan.engine.zero, ranks).name);
  Say("a micro-batch of {} sequences of {} tokens, {} of them a step{}\n", plan.engine.micro_batch,
      plan.context, plan.engine.accumulation, plan.flags.recompute ? ", recomputation" : "");
  if (const std::string note = ContextNote(plan); !note.empty()) {
    Say("sequences could be longer: {} {}\n", plan.context, note);
  }
  if (plan.flags.data.empty() && plan.flags.mix.empty()) {
    Say("of no text yet: a vocabulary of {}, and the text comes on top\n", plan.model.vocab);
  }
  Say("\n{:<14}{:>14}{:>14}\n", "MiB", "a rank", "all ranks");
  const auto row = [&](const char* name, double rank, double all) {
    Say("{:<14}{:>14.1f}{:>14.1f}\n", name, rank, all);
  };
  for (const MemoryForecast::Part& part : forecast.parts) {
    row(part.name, MiB(part.bytes), ranks * MiB(part.bytes));
  }
  row("together", MiB(forecast.rank_bytes), ranks * MiB(forecast.rank_bytes));
  Say("{:<14}{:>14}{:>14.1f}\n", "the process", "", MiB(forecast.process_bytes));
  Say("{:<14}{:>14}{:>14.1f}\n", "peak", "", MiB(forecast.peak_bytes));
  Say("\n{} {}.\n",
      forecast.peak_bytes > UsableMemory() ? "It does not fit:" : "It fits:", UsableMemoryText());
}

// One way to need less: flags or keys of the config, and what they do.
struct Remedy {
  std::string how;
  std::function<void(TrainPlan&)> apply;
  int64_t peak_bytes = 0;  // with it alone
};

// Those there are for a run: what leaves its numbers as they are comes before what changes them.
Result<std::vector<Remedy>> RemediesOf(const TrainPlan& plan) {
  const EngineConfig& engine = plan.engine;
  const bool several = plan.flags.ranks > 1;
  std::vector<Remedy> remedies;
  if (!plan.flags.recompute) {
    remedies.push_back({"--recompute", [](TrainPlan& run) { run.flags.recompute = true; }});
  }
  if (several && engine.zero.stage < 3) {
    remedies.push_back(
        {"config zero_optimization.stage: 3", [](TrainPlan& run) { run.engine.zero.stage = 3; }});
  }
  if (engine.micro_batch > 1) {
    remedies.push_back({fmt::format("config train_micro_batch_size_per_gpu: 1, "
                                    "gradient_accumulation_steps: {}",
                                    engine.accumulation * engine.micro_batch),
                        [](TrainPlan& run) {
                          run.engine.accumulation *= std::exchange(run.engine.micro_batch, 1);
                        }});
  }
  if (several) {  // of stage 3, which may be a remedy itself
    remedies.push_back({"config zero_optimization.overlap_comm: false",
                        [](TrainPlan& run) { run.engine.zero.overlap_comm = false; }});
    remedies.push_back({"config zero_optimization.stage3_max_live_parameters: 1",
                        [](TrainPlan& run) { run.engine.zero.max_live_parameters = 1; }});
  }
  if (engine.dtype == DType::kF32) {
    // A config may say no to the flag.
    remedies.push_back({plan.flags.config.empty() ? "--dtype bf16" : "config bf16.enabled: true",
                        [](TrainPlan& run) { run.engine.dtype = DType::kBF16; }});
  }
  if (!plan.flags.model.empty() && !plan.lora.has_value()) {
    LoraFlags flags;
    flags.rank = 8;
    flags.embeddings = plan.flags.added_tokens > 0;
    DS_ASSIGN(const auto lora, PlanLora(plan.flags.model, flags));
    remedies.push_back({"--lora-rank 8", [lora](TrainPlan& run) { run.lora = lora; }});
  }
  if (plan.context > 1) {
    remedies.push_back(
        {fmt::format("--context {}", plan.context / 2), [](TrainPlan& run) { run.context /= 2; }});
  }
  return remedies;
}

// What the run needs with some of the remedies.
using PeakWith = std::function<Result<int64_t>(std::span<const Remedy>)>;

// As many of the remedies, from the first on, as make the run fit, and none without which it still
// does; all of them where they do not suffice.
Result<std::vector<Remedy>> LeastOf(std::vector<Remedy> remedies, const PeakWith& peak_with) {
  const auto fits = [&](std::span<const Remedy> some) -> Result<bool> {
    DS_ASSIGN(const int64_t peak, peak_with(some));
    return peak <= UsableMemory();
  };
  size_t count = 0;
  for (bool enough = false; !enough && count < remedies.size();) {
    DS_ASSIGN(enough, fits(std::span(remedies).first(++count)));
    if (!enough && count == remedies.size()) return remedies;
  }
  remedies.resize(count);
  for (size_t i = 0; i < remedies.size();) {
    std::vector<Remedy> fewer = remedies;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    DS_ASSIGN(const bool enough, fits(fewer));
    if (enough) {
      remedies = std::move(fewer);
    } else {
      ++i;
    }
  }
  return remedies;
}

// What each remedy saves by itself, the best first, and which of them make the run fit.
Status PrintRemedies(const TrainPlan& plan, const MemoryForecast& forecast) {
  if (const int64_t text = std::max(forecast.process_bytes, forecast.reading_bytes);
      text > UsableMemory()) {
    Say("\nThe text alone is too large: with the program it takes {:.1f} MiB, whatever the "
        "model.\n",
        MiB(text));
    return {};
  }
  DS_ASSIGN(std::vector<Remedy> remedies, RemediesOf(plan));
  const auto gemm = CreateGemm();
  const PeakWith peak_with = [&](std::span<const Remedy> some) -> Result<int64_t> {
    TrainPlan run = plan;
    for (const Remedy& remedy : some) remedy.apply(run);
    DS_ASSIGN(const MemoryForecast ranks, ForecastRanks(run, *gemm));
    // The process is the same one, and what it reads.
    return PeakInProcess(ranks, forecast.process_bytes, forecast.reading_bytes);
  };
  for (Remedy& remedy : remedies) {
    DS_ASSIGN(remedy.peak_bytes, peak_with({&remedy, 1}));
  }
  // Some have an effect beside others alone.
  std::vector<Remedy> best = remedies;
  std::erase_if(best, [&](const Remedy& r) { return r.peak_bytes >= forecast.peak_bytes; });
  if (best.empty()) return {};
  std::stable_sort(best.begin(), best.end(),
                   [](const Remedy& a, const Remedy& b) { return a.peak_bytes < b.peak_bytes; });
  Say("\n{:>13}{:>13}  with, alone\n", "peak, MiB", "saved, MiB");
  for (const Remedy& each : best) {
    Say("{:>13.1f}{:>13.1f}  {}\n", MiB(each.peak_bytes),
        MiB(forecast.peak_bytes - each.peak_bytes), each.how);
  }

  DS_ASSIGN(const std::vector<Remedy> least, LeastOf(std::move(remedies), peak_with));
  DS_ASSIGN(const int64_t peak, peak_with(least));
  if (peak > UsableMemory()) {
    Say("\nAll of them together still need {:.1f} MiB: a smaller model would fit{}.\n", MiB(peak),
        plan.flags.ranks > 1 ? ", or more machines (--mpi)" : "");
    return {};
  }
  std::string how;
  for (const Remedy& remedy : least) how += (how.empty() ? "" : " and ") + remedy.how;
  Say("\nIt fits, with a peak of {:.1f} MiB, by {}.\n", MiB(peak), how);
  return {};
}

// Processes of a job have the program and the text each, on machines that this one does not know.
Status CheckOneProcess(const TrainFlags& flags) {
  const char* instead =
      "a plan is of ranks in one process: of a job plan --ranks N by itself, and each process "
      "takes a rank's memory and that of the process";
  if (flags.mpi) return InvalidArgument("--mpi: {}", instead);
  const auto launch = comm::FindLaunch();
  if (!launch) return {};
  const Status refused = InvalidArgument("a launcher set {}: {}", launch->variable, instead);
  return launch->rank == 0 ? refused : Status(refused.code(), "");
}

Status Plan(TrainFlags flags, bool as_json) {
  DS_TRY(CheckOneProcess(flags));
  flags.plans = true;
  flags.ranks = flags.asked_ranks.value_or(1);
  DS_ASSIGN(const TrainText text, OpenTrainText(flags));
  for (const data::WeightedSource& one : text.sources) {
    const std::string& path = one.source.path;
    std::error_code none;
    if (std::filesystem::exists(path, none) || std::filesystem::exists(path + ".bin", none))
      continue;
    return Error(Code::kNotFound, "{}: cannot open: No such file or directory", path);
  }
  DS_ASSIGN(const TrainPlan plan, PlanTraining(flags));  // the flags know the vocabulary now
  DS_ASSIGN(const MemoryForecast forecast, ForecastMemory(plan, text));
  if (as_json) {
    PrintJson(plan, forecast);
    return {};
  }
  PrintText(plan, forecast);
  return forecast.peak_bytes > UsableMemory() ? PrintRemedies(plan, forecast) : Status();
}

}  // namespace

void AddPlan(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<TrainFlags>();
  const auto json = std::make_shared<bool>(false);
  CLI::App& plan = *app.add_subcommand(
      "plan",
      "Tell how much memory a dspeed train with the same flags will need, without running it");
  plan.add_flag("--json", *json, "As JSON");
  AddTrainFlags(plan, flags);
  plan.get_option("--mpi")->group("");  // known, to say why not
  plan.footer(
      "The lines\n"
      "  weights, gradients, master, moments  a rank's share of the state of the training\n"
      "  windows      whole layers while they are worked on: gathered weights, gradients that\n"
      "               are not summed over the ranks yet\n"
      "  activations  what forward keeps for backward\n"
      "  scratch      of norms, and of update rules that work on whole matrices\n"
      "  the process  the program, its libraries and the text, once for all ranks\n"
      "  peak         the most at once: in training, or while weights or the text are read\n"
      "\n"
      "A text whose ids train keeps in memory (of a tokenizer, a folder or JSON lines) is encoded\n"
      "here too, to count them, which takes as long as there.\n"
      "\n"
      "Ranks are threads of one process. Of a job (mpirun, srun), where each is a process, plan\n"
      "--ranks N by itself: each process takes what is together a rank's, and the process.\n"
      "\n"
      "Example\n"
      "  dspeed plan --preset gpt2 --ranks 8 --config zero3.json");
  plan.callback([&chosen, flags, json] {
    chosen = [flags, json] {
      if (!flags->list_presets) return Plan(*flags, *json);
      if (!*json) return ListPresets();
      return InvalidArgument("--list-presets and --json: the list is for people alone");
    };
  });
}

}  // namespace ds::tool
