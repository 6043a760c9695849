// dspeed plan
#include <unistd.h>

#include <cstdio>

#include "base/json.h"
#include "command.h"
#include "memory_forecast.h"
#include "train_plan.h"

namespace ds::tool {
namespace {

double MiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

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
  fmt::print("a micro-batch of {} sequences of {} tokens, {} of them a step{}\n\n",
             plan.engine.micro_batch, plan.context, plan.engine.accumulation,
             plan.flags.recompute ? ", recomputation" : "");
  fmt::print("{:<14}{:>14}{:>14}\n", "MiB", "a rank", "all ranks");
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
             forecast.peak_bytes > MachineBytes()
                 ? ": the run does not fit. More ranks on more machines, a higher ZeRO stage, "
                   "--recompute or a smaller --batch need less"
                 : "");
}

Status Plan(TrainFlags flags, bool as_json) {
  flags.ranks = flags.asked_ranks.value_or(1);
  DS_ASSIGN(const TrainText text, OpenTrainText(flags));
  DS_ASSIGN(const TrainPlan plan, PlanTraining(flags));  // the flags know the vocabulary now
  DS_ASSIGN(const MemoryForecast forecast, ForecastMemory(plan, text.sources));
  as_json ? PrintJson(plan, forecast) : PrintText(plan, forecast);
  return {};
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
      "Example\n"
      "  dspeed plan --data book.txt --preset gpt2 --ranks 8 --config zero3.json");
  plan.callback([&chosen, flags, json] { chosen = [flags, json] { return Plan(*flags, *json); }; });
}

}  // namespace ds::tool
