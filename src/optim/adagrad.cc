// Adagrad (Duchi, Hazan & Singer 2011), with the L2 and the learning-rate decay of
// torch.optim.Adagrad, to which DeepSpeed's CPU kernel is equal within rounding.

#include "optim/rules.h"

namespace ds::optim {
namespace {

struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0, eps = 1e-10, weight_decay = 0;
};

class AdagradRule : public UpdateRule {
 public:
  explicit AdagradRule(const AdagradOptions& options) : options_(options) {}

  const char* name() const override { return "Adagrad"; }
  std::span<const char* const> state_names() const override {
    static constexpr const char* kNames[] = {"sum"};
    return kNames;
  }
  double lr() const override { return options_.lr; }

  void Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
             const ParamSums&) const override {
    const double late = 1.0 + static_cast<double>(scalars.step - 1) * options_.lr_decay;
    const kernels::AdagradScalars s = {
        .lr = static_cast<float>(scalars.lr / late),
        .eps = static_cast<float>(options_.eps),
        .weight_decay = scalars.decay ? static_cast<float>(options_.weight_decay) : 0.0f,
        .grad_scale = static_cast<float>(scalars.grad_scale)};
    tools.ops.adagrad(tools.lane, span.n, s, span.grad, span.master, span.states[0], span.weights);
  }

 private:
  const AdagradOptions options_;
};

}  // namespace

std::unique_ptr<UpdateRule> CreateAdagrad(Params& params) {
  AdagradOptions options;
  params.Read("lr", options.lr, 0, kNoLimit);
  params.Read("lr_decay", options.lr_decay, 0, kNoLimit);
  params.Read("eps", options.eps, 0, kNoLimit);
  params.Read("weight_decay", options.weight_decay, 0, kNoLimit);
  params.Neutral("initial_accumulator_value", 0, "the caller fills the state");
  params.Neutral("amsgrad", false, "not part of Adagrad");
  params.ReadTorch();
  params.Neutral("fp32_optimizer_states", true, "optimizer states are fp32");
  return std::make_unique<AdagradRule>(options);
}

}  // namespace ds::optim
