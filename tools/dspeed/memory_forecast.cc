#include "memory_forecast.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/task_pool.h"
#include "base/trace.h"
#include "command.h"
#include "engine/assembly.h"
#include "matmul_speed.h"
#include "model/decoder.h"
#include "optim/rules.h"
#include "progress.h"
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

}  // namespace

Result<MemoryForecast> ForecastMemory(const TrainPlan& plan,
                                      std::span<const data::WeightedSource> texts) {
  const auto gemm = CreateGemm();
  MemoryForecast forecast;
  forecast.process_bytes = ProcessBytes(plan, *gemm);
  for (const data::WeightedSource& text : texts) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(text.source.path, error);
    if (!error) forecast.process_bytes += static_cast<int64_t>(bytes);
  }

  TaskPool pool(1);
  DS_ASSIGN(const ModelFacts facts, FactsOf(plan, pool, *gemm));
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
  forecast.peak_bytes =
      forecast.process_bytes + plan.flags.ranks * (most + kRankOverhead + TraceBytes(plan));
  return forecast;
}

}  // namespace ds::tool
