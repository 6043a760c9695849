#include "optim/update_rule.h"

#include <cmath>

namespace ds::optim {

Status UpdateWhole(const UpdateRule& rule, const Tools& tools, const StepScalars& scalars,
                   const UpdateSpan& span, int64_t rows, int64_t columns, float* scratch) {
  if (rule.scope() == UpdateRule::Scope::kMatrix) {
    double sum = 0;
    tools.ops.sum_of_squares(tools.lane, span.n, span.grad, &sum);
    if (!std::isfinite(sum)) {
      return InvalidArgument("{}: the gradient of a {} x {} matrix is not finite", rule.name(),
                             rows, columns);
    }
  }
  ParamSums sums;
  rule.Prepare(tools, scalars, span, &sums);
  if (rule.scope() == UpdateRule::Scope::kMatrix) {
    for (int64_t at = 0; at < span.n; at += rows * columns) {
      DS_TRY(rule.TransformWhole(tools, rows, columns, span.direction + at, scratch));
    }
  }
  rule.Apply(tools, scalars, span, sums);
  return {};
}

}  // namespace ds::optim
