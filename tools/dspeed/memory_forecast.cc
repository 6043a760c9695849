#include "memory_forecast.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/host.h"
#include "base/task_pool.h"
#include "base/trace.h"
#include "command.h"
#include "engine/assembly.h"
#include "matmul_speed.h"
#include "mebibytes.h"
#include "model/decoder.h"
#include "optim/rules.h"
#include "progress.h"
#include "text_memory.h"
#include "zero/memory_plan.h"

namespace ds::tool {
namespace {

// What a rank's own threads and objects take: stacks, the C library's heaps, tables.
constexpr int64_t kRankOverhead = 2 << 20;

// Takes note of what is registered, and keeps nothing of it.
class SpecStore final : public ParamStore {
 public:
  explicit SpecStore(DType dtype) : dtype_(dtype) {}
  DType dtype() const override { return dtype_; }
  Result<ParamId> Register(ParamSpec spec, ParamValues) override {
    specs_.push_back(std::move(spec));
    return static_cast<ParamId>(specs_.size() - 1);
  }
  Result<const void*> Acquire(ParamId) override { return NoWeights(); }
  Status Release(ParamId) override { return NoWeights(); }
  Status AddGrad(ParamId, DType, const void*) override { return NoWeights(); }
  Result<GradView> BeginGrad(ParamId) override { return NoWeights(); }
  Status EndGrad(ParamId) override { return NoWeights(); }

  const std::vector<ParamSpec>& specs() const { return specs_; }

 private:
  static Status NoWeights() {
    return Error(Code::kUnsupported, "these parameters were planned, not made");
  }

  const DType dtype_;
  std::vector<ParamSpec> specs_;
};

struct ModelFacts {
  std::vector<ParamSpec> specs;
  int64_t activations = 0;
};

Result<ModelFacts> FactsOf(const TrainPlan& plan, TaskPool& pool, kernels::Gemm& gemm) {
  device::MemoryAccount nobody;
  SpecStore specs(plan.engine.dtype);
  const model::DecoderOptions options{
      .recompute = plan.flags.recompute, .lora = plan.lora, .train_biases = plan.bias};
  DS_ASSIGN(const auto model, model::Decoder::Create(plan.model, options, pool, gemm, nobody));
  DS_TRY(model->RegisterParams(specs, [](const model::Param&) { return ParamValues(); }));
  return ModelFacts{specs.specs(),
                    model->PlanActivationBytes(plan.engine.micro_batch, plan.context)};
}

// Of this process, with the back end of products in it: as the run will be before it has a model.
int64_t ProcessBytes(const TrainPlan& plan, kernels::Gemm& gemm) {
  TaskPool pool(CpuThreads(plan.flags.threads));
  (void)MatmulFlops(gemm, pool, plan.engine.dtype, 0);
  return ResidentBytes();
}

// Rings of the driver and, beside it, of gathers and reductions.
int64_t TraceBytes(const TrainPlan& plan) {
  if (plan.flags.trace.empty()) return 0;
  const int threads = plan.engine.zero.overlap_comm && plan.flags.ranks > 1 ? 3 : 1;
  return threads * plan.flags.trace_events() * static_cast<int64_t>(sizeof(TraceEvent));
}

// Bytes of the files of weights that the ranks read, which are mapped.
int64_t WeightFiles(const TrainPlan& plan) {
  int64_t bytes = 0;
  for (const std::string& folder : {plan.flags.model, plan.flags.lora.folder}) {
    std::error_code none;
    for (const auto& file : std::filesystem::directory_iterator(folder, none)) {
      if (file.path().extension() != ".safetensors") continue;
      const auto size = file.file_size(none);
      if (!none) bytes += static_cast<int64_t>(size);
    }
  }
  return bytes;
}

// A generous estimate in floating point: what it refuses might not be countable in 64 bits.
Status CheckCountable(const TrainPlan& plan) {
  const model::DecoderConfig& config = plan.model;
  const auto layers = static_cast<double>(config.layers);
  const double wide = 4.0 * static_cast<double>(config.width) +
                      static_cast<double>(config.mlp_width() + config.qkv_width());
  const double rows =
      static_cast<double>(plan.engine.micro_batch) * static_cast<double>(plan.context);
  const double bytes = plan.flags.ranks * (64.0 * static_cast<double>(config.parameters()) +
                                           32.0 * rows * (layers + 2) * wide);
  if (bytes < 0x1p62) return {};
  return InvalidArgument(
      "a micro-batch of {} sequences of {} tokens on {} ranks is some {:.0e} bytes, more than can "
      "be counted",
      plan.engine.micro_batch, plan.context, plan.flags.ranks, bytes);
}

}  // namespace

Result<MemoryForecast> ForecastRanks(const TrainPlan& plan, kernels::Gemm& gemm) {
  DS_TRY(CheckCountable(plan));
  MemoryForecast forecast;
  TaskPool pool(TaskPool::SizeFor(CpuThreads(plan.flags.threads), plan.flags.ranks));
  DS_ASSIGN(const ModelFacts facts, FactsOf(plan, pool, gemm));
  DS_ASSIGN(const auto rule, optim::CreateRule(plan.engine.optimizer));
  const zero::MemoryPlan memory = zero::PlanMemory({.zero = plan.engine.zero,
                                                    .dtype = plan.engine.dtype,
                                                    .accumulation = plan.engine.accumulation,
                                                    .world = plan.flags.ranks,
                                                    .rule = rule.get(),
                                                    .tied_head = plan.model.tied},
                                                   facts.specs);
  forecast.parts = {{"weights", memory.weights}, {"gradients", memory.gradients},
                    {"master", memory.master},   {"moments", memory.moments},
                    {"windows", memory.windows}, {"activations", facts.activations},
                    {"scratch", memory.scratch}};
  for (const MemoryForecast::Part& part : forecast.parts) forecast.rank_bytes += part.bytes;
  const int64_t most = std::max(forecast.rank_bytes, memory.at_placing);
  const int64_t beside = kRankOverhead + TraceBytes(plan);
  // Each rank maps them, and reads all of them where it keeps all weights.
  const int64_t maps = plan.engine.zero.stage < 3 ? plan.flags.ranks : 1;
  forecast.placing_bytes =
      plan.flags.ranks * (memory.at_placing + beside) + maps * WeightFiles(plan);
  forecast.peak_bytes = plan.flags.ranks * (most + beside);
  return forecast;
}

Result<MemoryForecast> ForecastMemory(const TrainPlan& plan, const TrainText& text) {
  TextMemory texts;
  {  // before there is what a run has of products, as there
    TaskPool pool(TaskPool::SizeFor(CpuThreads(plan.flags.threads), plan.flags.ranks));
    DS_ASSIGN(texts, MeasureTexts(text.sources, text.tokenizer.get(), plan.context, pool));
  }
  const auto gemm = CreateGemm();
  const int64_t process = ProcessBytes(plan, *gemm);
  DS_ASSIGN(MemoryForecast forecast, ForecastRanks(plan, *gemm));
  forecast.process_bytes = process + texts.held;
  forecast.reading_bytes = texts.reading;
  forecast.peak_bytes = PeakInProcess(forecast, forecast.process_bytes, forecast.reading_bytes);
  return forecast;
}

int64_t PeakInProcess(const MemoryForecast& ranks, int64_t process_bytes, int64_t reading_bytes) {
  return std::max(std::max(ranks.peak_bytes, ranks.placing_bytes) + process_bytes, reading_bytes);
}

std::string UsableMemoryText() {
  return UsableMemory() == MachineMemory()
             ? fmt::format("this machine has {:.0f} MiB", MiB(MachineMemory()))
             : fmt::format(
                   "its control group leaves this process {:.0f} MiB of the machine's {:.0f}",
                   MiB(UsableMemory()), MiB(MachineMemory()));
}

Status CheckFits(const TrainPlan& plan, kernels::Gemm& gemm) {
  struct sysinfo machine = {};
  if (::sysinfo(&machine) != 0) return {};
  // Also where a group has a limit of its own for it: what might run is not refused.
  const int64_t swap = static_cast<int64_t>(machine.totalswap) * machine.mem_unit;
  DS_ASSIGN(const MemoryForecast forecast, ForecastRanks(plan, gemm));
  if (forecast.peak_bytes <= UsableMemory() + swap) return {};
  return Error(
      Code::kOutOfMemory,
      "the run needs {:.0f} MiB of memory, {}{}: dspeed plan with the same flags tells what needs "
      "less",
      MiB(forecast.peak_bytes), UsableMemoryText(),
      swap > 0 ? fmt::format(" and {:.0f} of swap", MiB(swap)) : "");
}

}  // namespace ds::tool
