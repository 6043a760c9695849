// Options of Adam and AdamW. The update itself is a kernel (kernels/ops.h, `adam`).
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace ds::optim {

// Defaults of DeepSpeed's "optimizer": {"params": ...}.
struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  bool bias_correction = true;
  bool decoupled = true;  // AdamW; false: weight decay is added to the gradient
};

// The scalars of update number `step` (from 1) at learning rate `lr`; gradients are first
// multiplied by `grad_scale`. `decay` false leaves weight decay out.
kernels::AdamScalars AdamScalarsFor(const AdamWOptions& options, int64_t step, double lr,
                                    double grad_scale, bool decay);

}  // namespace ds::optim
