// Lion (Chen et al. 2023, algorithm 2), signs as DeepSpeed's CPU kernel: that of a zero counts.

#include "optim/rules.h"

namespace ds::optim {
namespace {

struct LionOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, weight_decay = 0;  // DeepSpeed's, not the paper's
};

class LionRule : public UpdateRule {
 public:
  explicit LionRule(const LionOptions& options) : options_(options) {}

  const char* name() const override { return "Lion"; }
  std::span<const char* const> state_names() const override {
    static constexpr const char* kNames[] = {"exp_avg"};
    return kNames;
  }
  double lr() const override { return options_.lr; }

  void Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
             const ParamSums&) const override {
    const Betas betas = scalars.betas.value_or(Betas{options_.beta1, options_.beta2});
    const kernels::LionScalars s = {
        .lr = static_cast<float>(scalars.lr),
        .beta1 = static_cast<float>(betas.beta1),
        .beta2 = static_cast<float>(betas.beta2),
        .weight_decay = scalars.decay ? static_cast<float>(options_.weight_decay) : 0.0f,
        .grad_scale = static_cast<float>(scalars.grad_scale)};
    tools.ops.lion(tools.lane, span.n, s, span.grad, span.master, span.states[0], span.weights);
  }

 private:
  const LionOptions options_;
};

}  // namespace

std::unique_ptr<UpdateRule> CreateLion(Params& params) {
  LionOptions options;
  params.Read("lr", options.lr, 0, kNoLimit);
  params.ReadBetas("betas", options.beta1, options.beta2);
  params.Read("weight_decay", options.weight_decay, 0, kNoLimit);
  params.Neutral("fp32_optimizer_states", true, "optimizer states are fp32");
  return std::make_unique<LionRule>(options);
}

}  // namespace ds::optim
