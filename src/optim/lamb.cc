// LAMB (You et al. 2020, algorithm 2) as DeepSpeed's fused kernel computes it: bias correction is
// in the size of the step only, and the trust ratio |p| / |u| is clamped to [min_coeff, max_coeff].
#include <algorithm>
#include <cmath>

#include "optim/rules.h"

namespace ds::optim {
namespace {

struct LambOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double max_coeff = 10, min_coeff = 0.01;
  bool bias_correction = true, eps_inside_sqrt = false;
};

class LambRule : public UpdateRule {
 public:
  explicit LambRule(const LambOptions& options) : options_(options) {}

  const char* name() const override { return "Lamb"; }
  Scope scope() const override { return Scope::kNorms; }
  std::span<const char* const> state_names() const override {
    static constexpr const char* kNames[] = {"exp_avg", "exp_avg_sq"};
    return kNames;
  }
  double lr() const override { return options_.lr; }

  void Prepare(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
               ParamSums* sums) const override {
    tools.ops.lamb_moments(tools.lane, span.n, Scalars(scalars), span.grad, span.master,
                           span.states[0], span.states[1], sums);
  }

  void Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
             const ParamSums& sums) const override {
    double step = scalars.lr;
    if (options_.bias_correction) {
      // As the moments decay: by betas that are rounded.
      const kernels::LambScalars s = Scalars(scalars);
      const auto t = static_cast<double>(scalars.step);
      step *= std::sqrt(1.0 - std::pow(double{s.beta2}, t)) / (1.0 - std::pow(double{s.beta1}, t));
    }
    step *= TrustRatio(sums);
    tools.ops.lamb_apply(tools.lane, span.n, Scalars(scalars), static_cast<float>(step),
                         span.master, span.states[0], span.states[1], span.weights);
  }

 private:
  kernels::LambScalars Scalars(const StepScalars& scalars) const {
    const Betas betas = scalars.betas.value_or(Betas{options_.beta1, options_.beta2});
    return {.beta1 = static_cast<float>(betas.beta1),
            .beta2 = static_cast<float>(betas.beta2),
            .eps = static_cast<float>(options_.eps),
            .weight_decay = scalars.decay ? static_cast<float>(options_.weight_decay) : 0.0f,
            .grad_scale = static_cast<float>(scalars.grad_scale),
            .eps_inside_sqrt = options_.eps_inside_sqrt};
  }

  double TrustRatio(const ParamSums& sums) const {
    if (sums.weights == 0 || sums.direction == 0) return 1.0;
    return std::clamp(std::sqrt(sums.weights) / std::sqrt(sums.direction), options_.min_coeff,
                      options_.max_coeff);
  }

  const LambOptions options_;
};

}  // namespace

std::unique_ptr<UpdateRule> CreateLamb(Params& params) {
  LambOptions options;
  params.Read("lr", options.lr, 0, kNoLimit);
  params.ReadBetas("betas", options.beta1, options.beta2);
  params.Read("eps", options.eps, 0, kNoLimit);
  params.Read("weight_decay", options.weight_decay, 0, kNoLimit);
  params.Read("max_coeff", options.max_coeff, 0, kNoLimit);
  params.Read("min_coeff", options.min_coeff, 0, kNoLimit);
  params.Read("bias_correction", options.bias_correction);
  params.Read("eps_inside_sqrt", options.eps_inside_sqrt);
  params.Neutral("amsgrad", false, "not part of DeepSpeed's LAMB either");
  params.Neutral("max_grad_norm", 0, "use gradient_clipping");
  if (options.min_coeff > options.max_coeff) {
    params.Fail(Error(Code::kConfig, "optimizer.params.min_coeff {:g} is above max_coeff {:g}",
                      options.min_coeff, options.max_coeff));
    options.min_coeff = options.max_coeff;
  }
  return std::make_unique<LambRule>(options);
}

}  // namespace ds::optim
