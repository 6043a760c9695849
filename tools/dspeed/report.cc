// dspeed report
#include <deepspeed/ds_base.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/host.h"
#include "base/json.h"
#include "command.h"
#include "engine/assembly.h"
#include "kernels/ops.h"

namespace ds::tool {
namespace {

std::string Processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t sign = line.find(':');
    const size_t begin = sign == line.npos ? sign : line.find_first_not_of(" \t", sign + 1);
    if (begin != line.npos) return line.substr(begin);
  }
  return "unknown";
}

double GiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

Status Report(bool as_json) {
  const auto backends = Backends();
  const std::string version =
      fmt::format("{}.{}.{}", DS_VERSION_MAJOR, DS_VERSION_MINOR, DS_VERSION_PATCH);
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  const std::string chosen = CreateGemm()->name();
  const bool asked = std::getenv("DS_GEMM") != nullptr;
  if (as_json) {
    nlohmann::ordered_json json = {{"version", version},
                                   {"processor", Processor()},
                                   {"cores", cores},
                                   {"usable_cores", UsableCores()},
                                   {"memory_bytes", MachineMemory()},
                                   {"usable_memory_bytes", UsableMemory()},
                                   {"instruction_set", kernels::InstructionSet()},
                                   {"matrix_product", chosen},
                                   {"backends", Json::array()}};
    for (const Backend& b : backends) {
      json["backends"].push_back({{"noun", b.noun},
                                  {"name", b.name},
                                  {"available", b.available},
                                  {b.available ? "what" : "why", b.why}});
    }
    // A virtual machine may call its processor anything.
    Say("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
    return {};
  }
  Say("dspeed            {}\n", version);
  // What a container or a batch system leaves of it.
  const auto usable = [](bool limited, const std::string& what) {
    return limited ? fmt::format(", of which {} may be used", what) : "";
  };
  Say("processor         {}, {} cores{}\n", Processor(), cores,
      usable(UsableCores() < cores, std::to_string(UsableCores())));
  Say("memory            {:.1f} GiB{}\n", GiB(MachineMemory()),
      usable(UsableMemory() < MachineMemory(), fmt::format("{:.1f}", GiB(UsableMemory()))));
  Say("instruction set   {} (kernels)\n", kernels::InstructionSet());
  const char* noun = "";
  for (const Backend& b : backends) {
    // Of communication back ends the launcher decides; of products one is in use.
    const char* mark = !b.available ? "no" : b.name == chosen ? "used" : "yes";
    Say("{:<17} {:<8} {:<4} {}\n", std::string_view(noun) == b.noun ? "" : b.noun, b.name, mark,
        b.why);
    noun = b.noun;
  }
  if (chosen != backends.front().name) {
    Say("\nMatrix products come from {}, which is slower, {}.\n", chosen,
        asked ? "because DS_GEMM says so" : "for the reason above");
  }
  return {};
}

}  // namespace

void AddReport(CLI::App& app, Chosen& chosen) {
  const auto json = std::make_shared<bool>(false);
  CLI::App& report =
      *app.add_subcommand("report", "Tell what this machine offers and which back ends serve");
  report.add_flag("--json", *json, "As JSON");
  report.callback([&chosen, json] { chosen = [json] { return Report(*json); }; });
}

}  // namespace ds::tool
