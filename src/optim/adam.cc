// Adam (Kingma & Ba 2015, algorithm 1, with L2) and AdamW (Loshchilov & Hutter 2019, algorithm 2).
#include "optim/adam.h"

#include "optim/rules.h"

namespace ds::optim {
namespace {

std::unique_ptr<UpdateRule> Read(Params& params, bool always_decoupled) {
  AdamWOptions options;
  params.Read("lr", options.lr, 0, kNoLimit);
  params.ReadBetas("betas", options.beta1, options.beta2);
  params.Read("eps", options.eps, 0, kNoLimit);
  params.Read("weight_decay", options.weight_decay, 0, kNoLimit);
  params.Read("bias_correction", options.bias_correction);
  params.Read("adam_w_mode", options.decoupled);
  params.Ignore("torch_adam");
  params.Neutral("amsgrad", false, "not part of DeepSpeed's Adam either");
  params.Neutral("fp32_optimizer_states", true, "optimizer states are fp32");
  if (always_decoupled) options.decoupled = true;  // as DeepSpeed: the type wins
  return std::make_unique<AdamRule>(options);
}

}  // namespace

std::span<const char* const> AdamRule::state_names() const {
  static constexpr const char* kNames[] = {"exp_avg", "exp_avg_sq"};
  return kNames;
}

void AdamRule::Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
                     const ParamSums&) const {
  AdamWOptions options = options_;
  if (scalars.betas && cycled_) {
    options.beta1 = scalars.betas->beta1;
    options.beta2 = scalars.betas->beta2;
  }
  tools.ops.adam(
      tools.lane, span.n,
      AdamScalarsFor(options, scalars.step, scalars.lr, scalars.grad_scale, scalars.decay),
      span.grad, span.master, span.states[0], span.states[1], span.weights);
}

std::unique_ptr<UpdateRule> CreateAdam(Params& params) { return Read(params, false); }
std::unique_ptr<UpdateRule> CreateAdamW(Params& params) { return Read(params, true); }

}  // namespace ds::optim
