#include "optim/adamw.h"

#include <cmath>

namespace ds::optim {

kernels::AdamScalars AdamScalarsFor(const AdamWOptions& options, int64_t step, double lr,
                                    double grad_scale, bool decay) {
  // Of the beta that the moments decay by, which is rounded: with another one they would not be
  // corrected to what they are an average of, by 1 % where beta2 is 0.999999.
  const auto bias = [&](float beta) {
    return options.bias_correction ? 1.0 - std::pow(double{beta}, static_cast<double>(step)) : 1.0;
  };
  const auto beta1 = static_cast<float>(options.beta1), beta2 = static_cast<float>(options.beta2);
  return {.lr = static_cast<float>(lr),
          .beta1 = beta1,
          .beta2 = beta2,
          .eps = static_cast<float>(options.eps),
          .weight_decay = decay ? static_cast<float>(options.weight_decay) : 0.0f,
          .bias1 = static_cast<float>(bias(beta1)),
          .bias2 = static_cast<float>(bias(beta2)),
          .grad_scale = static_cast<float>(grad_scale),
          .decoupled = options.decoupled};
}

}  // namespace ds::optim
