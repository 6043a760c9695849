// Adam and AdamW as an update rule.
#pragma once

#include "optim/adamw.h"
#include "optim/update_rule.h"

namespace ds::optim {

class AdamRule : public UpdateRule {
 public:
  // `cycled`: a schedule may move its betas.
  explicit AdamRule(const AdamWOptions& options, bool cycled = true)
      : options_(options), cycled_(cycled) {}

  const char* name() const override { return options_.decoupled ? "AdamW" : "Adam"; }
  std::span<const char* const> state_names() const override;
  double lr() const override { return options_.lr; }
  void Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
             const ParamSums& sums) const override;

 private:
  const AdamWOptions options_;
  const bool cycled_;
};

}  // namespace ds::optim
