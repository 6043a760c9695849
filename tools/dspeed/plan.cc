// dspeed plan
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "command.h"
#include "mebibytes.h"
#include "memory_forecast.h"
#include "train_plan.h"

namespace ds::tool {
namespace {

int64_t MachineBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

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
  json["machine_bytes"] = MachineBytes();
  fmt::print("{}\n", json.dump(2));
}

void PrintText(const TrainPlan& plan, const MemoryForecast& forecast) {
  const int ranks = plan.flags.ranks;
  fmt::print("{:.2f} M parameters, {}, {} {}, ZeRO {}\n",
             static_cast<double>(plan.model.parameters()) / 1e6, DTypeName(plan.engine.dtype),
             ranks, ranks == 1 ? "rank" : "ranks", zero::PlacementOf(plan.engine.zero, ranks).name);
  fmt::print("a micro-batch of {} sequences of {} tokens, {} of them a step{}\n",
             plan.engine.micro_batch, plan.context, plan.engine.accumulation,
             plan.flags.recompute ? ", recomputation" : "");
  if (const std::string note = ContextNote(plan); !note.empty()) {
    fmt::print("sequences could be longer: {} {}\n", plan.context, note);
  }
  if (plan.flags.data.empty() && plan.flags.mix.empty()) {
    fmt::print("of no text yet: a vocabulary of {}, and the text comes on top\n", plan.model.vocab);
  }
  fmt::print("\n{:<14}{:>14}{:>14}\n", "MiB", "a rank", "all ranks");
  const auto row = [&](const char* name, double rank, double all) {
    fmt::print("{:<14}{:>14.1f}{:>14.1f}\n", name, rank, all);
  };
  for (const MemoryForecast::Part& part : forecast.parts) {
    row(part.name, MiB(part.bytes), ranks * MiB(part.bytes));
  }
  row("together", MiB(forecast.rank_bytes), ranks * MiB(forecast.rank_bytes));
  fmt::print("{:<14}{:>14}{:>14.1f}\n", "the process", "", MiB(forecast.process_bytes));
  fmt::print("{:<14}{:>14}{:>14.1f}\n", "peak", "", MiB(forecast.peak_bytes));
  fmt::print("\nThis machine has {:.1f} MiB{}.\n", MiB(MachineBytes()),
             forecast.peak_bytes > MachineBytes() ? ": the run does not fit" : "");
}

// One way to need less, and what is then needed.
struct Saving {
  std::string how;
  int64_t peak_bytes = 0;
};

// What can be said in flags and keys of the config; each alone, the one that saves most first.
Result<std::vector<Saving>> FindSavings(const TrainPlan& plan, const MemoryForecast& forecast) {
  std::vector<Saving> savings;
  const auto consider = [&](const std::string& how, const auto& change) -> Status {
    TrainPlan other = plan;
    change(other);
    DS_ASSIGN(const MemoryForecast less, ForecastMemory(other, {}));
    // The process is the same one.
    const int64_t saved =
        forecast.peak_bytes - forecast.process_bytes - (less.peak_bytes - less.process_bytes);
    if (saved > 0) savings.push_back({how, forecast.peak_bytes - saved});
    return {};
  };
  const EngineConfig& engine = plan.engine;
  if (!plan.flags.recompute) {
    DS_TRY(consider("--recompute", [](TrainPlan& other) { other.flags.recompute = true; }));
  }
  if (engine.dtype == DType::kF32) {
    DS_TRY(consider("--dtype bf16", [](TrainPlan& other) { other.engine.dtype = DType::kBF16; }));
  }
  if (plan.flags.ranks > 1 && engine.zero.stage < 3) {
    DS_TRY(consider("\"zero_optimization\": {\"stage\": 3}",
                    [](TrainPlan& other) { other.engine.zero.stage = 3; }));
  }
  if (plan.flags.ranks > 1 && engine.zero.stage == 3) {
    DS_TRY(consider("\"zero_optimization\": {\"stage3_max_live_parameters\": 1}",
                    [](TrainPlan& other) { other.engine.zero.max_live_parameters = 1; }));
    DS_TRY(consider("\"zero_optimization\": {\"overlap_comm\": false}",
                    [](TrainPlan& other) { other.engine.zero.overlap_comm = false; }));
  }
  if (engine.micro_batch > 1) {
    DS_TRY(consider("\"train_micro_batch_size_per_gpu\": 1", [](TrainPlan& other) {
      other.engine.accumulation *= std::exchange(other.engine.micro_batch, 1);
    }));
  }
  if (plan.context > 1) {
    DS_TRY(consider(fmt::format("--context {}", plan.context / 2),
                    [](TrainPlan& other) { other.context /= 2; }));
  }
  if (!plan.flags.model.empty() && !plan.lora.has_value()) {
    LoraFlags flags;
    flags.rank = 8;
    DS_ASSIGN(const auto lora, PlanLora(plan.flags.model, flags));
    DS_TRY(consider("--lora-rank 8", [&](TrainPlan& other) { other.lora = lora; }));
  }
  std::stable_sort(savings.begin(), savings.end(),
                   [](const Saving& a, const Saving& b) { return a.peak_bytes < b.peak_bytes; });
  return savings;
}

Status PrintSavings(const TrainPlan& plan, const MemoryForecast& forecast) {
  DS_ASSIGN(const std::vector<Saving> savings, FindSavings(plan, forecast));
  if (!savings.empty()) fmt::print("\n{:<42}{:>14}{:>14}\n", "With, alone", "peak, MiB", "saved");
  for (const Saving& saving : savings) {
    fmt::print("{:<42}{:>14.1f}{:>14.1f}\n", saving.how, MiB(saving.peak_bytes),
               MiB(forecast.peak_bytes - saving.peak_bytes));
  }
  return {};
}

Status Plan(TrainFlags flags, bool as_json) {
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
  DS_ASSIGN(const MemoryForecast forecast, ForecastMemory(plan, text.sources));
  if (as_json) {
    PrintJson(plan, forecast);
    return {};
  }
  PrintText(plan, forecast);
  return forecast.peak_bytes > MachineBytes() ? PrintSavings(plan, forecast) : Status();
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
  plan.footer(
      "The lines\n"
      "  weights, gradients, master, moments  a rank's share of the state of the training\n"
      "  windows      whole layers while they are worked on: gathered weights, gradients that\n"
      "               are not summed over the ranks yet\n"
      "  activations  what forward keeps for backward\n"
      "  scratch      of norms, and of update rules that work on whole matrices\n"
      "  the process  the program, its libraries and the data, once for all ranks\n"
      "\n"
      "Example\n"
      "  dspeed plan --preset gpt2 --ranks 8 --config zero3.json");
  plan.callback([&chosen, flags, json] { chosen = [flags, json] { return Plan(*flags, *json); }; });
}

}  // namespace ds::tool
