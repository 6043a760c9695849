#include "optim/update_rule.h"

#include <cmath>

namespace ds::optim {

Status UpdateWhole(const UpdateRule& rule, const Tools& tools, const StepScalars& scalars,
                   const UpdateSpan& span, int64_t rows, int64_t columns, float* scratch) {
  if (rule.scope() == UpdateRule::Scope::kMatrix) {
    const double sum = tools.ops.sum_of_squares(tools.pool, span.n, span.grad);
    if (!std::isfinite(sum)) {
      return InvalidArgument("{}: the gradient of a {} x {} matrix is not finite", rule.name(),
                             rows, columns);
    }
  }
  const ParamSums sums = rule.Prepare(tools, scalars, span);
  if (rule.scope() == UpdateRule::Scope::kMatrix) {
    for (int64_t at = 0; at < span.n; at += rows * columns) {
      rule.TransformWhole(tools, rows, columns, span.direction + at, scratch);
    }
  }
  rule.Apply(tools, scalars, span, sums);
  return {};
}

}  // namespace ds::optim
