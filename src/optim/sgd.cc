// Stochastic gradient descent with momentum, as torch.optim.SGD (Sutskever et al. 2013 for the
// Nesterov form): the buffer is the first gradient itself, whatever the dampening.

#include "optim/rules.h"

namespace ds::optim {
namespace {

struct SgdOptions {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
};

class SgdRule : public UpdateRule {
 public:
  explicit SgdRule(const SgdOptions& options) : options_(options) {}

  const char* name() const override { return "SGD"; }
  std::span<const char* const> state_names() const override {
    static constexpr const char* kNames[] = {"momentum_buffer"};
    return {kNames, options_.momentum == 0 ? size_t{0} : size_t{1}};
  }
  double lr() const override { return options_.lr; }

  void Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
             const ParamSums&) const override {
    const kernels::SgdScalars s = {
        .lr = static_cast<float>(scalars.lr),
        .momentum = static_cast<float>(options_.momentum),
        .dampening = static_cast<float>(options_.dampening),
        .weight_decay = scalars.decay ? static_cast<float>(options_.weight_decay) : 0.0f,
        .grad_scale = static_cast<float>(scalars.grad_scale),
        .nesterov = options_.nesterov,
        .first = scalars.step == 1};
    tools.ops.sgd(tools.lane, span.n, s, span.grad, span.master, span.states[0], span.weights);
  }

 private:
  const SgdOptions options_;
};

}  // namespace

std::unique_ptr<UpdateRule> CreateSgd(Params& params) {
  SgdOptions options;
  params.Read("lr", options.lr, 0, kNoLimit);
  params.Read("momentum", options.momentum, 0, kNoLimit);
  params.Read("dampening", options.dampening);
  params.Read("weight_decay", options.weight_decay, 0, kNoLimit);
  params.Read("nesterov", options.nesterov);
  params.ReadTorch();
  if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
    params.Fail(Error(Code::kConfig,
                      "optimizer.params.nesterov needs a momentum and no dampening, not {:g} and "
                      "{:g}",
                      options.momentum, options.dampening));
  }
  return std::make_unique<SgdRule>(options);
}

}  // namespace ds::optim
