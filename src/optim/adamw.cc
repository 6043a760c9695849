#include "optim/adamw.h"

#include <cmath>

namespace ds::optim {

kernels::AdamScalars AdamScalarsFor(const AdamWOptions& options, int64_t step, double lr,
                                    double grad_scale, bool decay) {
  const auto bias = [&](double beta) {
    return options.bias_correction ? 1.0 - std::pow(beta, static_cast<double>(step)) : 1.0;
  };
  return {.lr = static_cast<float>(lr),
          .beta1 = static_cast<float>(options.beta1),
          .beta2 = static_cast<float>(options.beta2),
          .eps = static_cast<float>(options.eps),
          .weight_decay = decay ? static_cast<float>(options.weight_decay) : 0.0f,
          .bias1 = static_cast<float>(bias(options.beta1)),
          .bias2 = static_cast<float>(bias(options.beta2)),
          .grad_scale = static_cast<float>(grad_scale),
          .decoupled = options.decoupled};
}

}  // namespace ds::optim
