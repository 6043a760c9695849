// What an optimizer does to the elements of one parameter, in steps that a caller who holds only a
// part of it can make. Knows neither ranks nor shards.
//
//   Prepare  elementwise on any cut; what it answers or leaves in `direction` belongs to the whole
//   (whole)  kNorms: add the sums of all parts of the parameter
//            kMatrix: bring the parts of `direction` together, TransformWhole, take them apart
//   Apply    elementwise on any cut
//
// A rule of scope kElement does all its work in Apply. The bits of an element depend on its own
// numbers, on the scalars and on what the middle line gives; never on the cut or on threads.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/status.h"
#include "device/lane.h"
#include "kernels/gemm.h"
#include "kernels/ops.h"

namespace ds::optim {

constexpr int kMaxStates = 2;

// With what to compute. `ops` is the row of the gradients' dtype; `wide`, the row of fp32, and
// `gemm` are for kMatrix alone.
struct Tools {
  const kernels::Ops& ops;
  const device::Lane lane;
  kernels::Gemm* gemm = nullptr;
  const kernels::Ops& wide = kernels::BestOps(DType::kF32);
};

struct Betas {
  double beta1, beta2;
};

struct StepScalars {
  int64_t step;  // the number of this update, from 1
  double lr;
  double grad_scale = 1;  // gradients are multiplied by it first: unscale and clip in one
  bool decay = true;      // false: weight decay does not apply to this parameter
  // In place of the rule's own, where a schedule cycles them; rules without betas ignore them.
  std::optional<Betas> betas = {};
};

// n elements of a parameter. Arrays do not overlap, but for `weights`.
struct UpdateSpan {
  int64_t n;
  const void* grad;                       // in the dtype of the ops
  float* master;                          // fp32 weights
  std::array<float*, kMaxStates> states;  // as many as state_names(); zero before the first step
  void* weights;                          // in the dtype of the ops; the master itself where fp32
  float* direction = nullptr;             // n, kMatrix alone
};

// Sums of squares of the parts of a parameter: to be added in a fixed order.
using ParamSums = kernels::LambSums;

class UpdateRule {
 public:
  enum class Scope { kElement, kNorms, kMatrix };

  virtual ~UpdateRule() = default;
  // As in ds_config.json.
  virtual const char* name() const = 0;
  virtual Scope scope() const { return Scope::kElement; }
  // As DeepSpeed's and torch's checkpoints call them.
  virtual std::span<const char* const> state_names() const = 0;
  // The learning rate of the config, which a schedule starts from or replaces.
  virtual double lr() const = 0;
  // The rule for parameters that are no matrices, or that the user exempts; has states and a
  // learning rate of its own. Most rules serve every parameter.
  virtual const UpdateRule& other() const { return *this; }

  // `sums`: of the span, kNorms alone.
  virtual void Prepare(const Tools&, const StepScalars&, const UpdateSpan&,
                       ParamSums* /*sums*/) const {}
  // fp32 scratch of TransformWhole.
  virtual int64_t scratch_floats(int64_t /*rows*/, int64_t /*columns*/) const { return 0; }
  // Replaces the direction of a whole matrix, row-major [rows, columns]. Fails where the lane does.
  virtual Status TransformWhole(const Tools&, int64_t /*rows*/, int64_t /*columns*/,
                                float* /*direction*/, float* /*scratch*/) const {
    return {};
  }
  virtual void Apply(const Tools&, const StepScalars&, const UpdateSpan&,
                     const ParamSums&) const = 0;
};

// All steps in one, for a caller who holds the whole parameter. kMatrix: the span is n / (rows *
// columns) matrices, each transformed by itself; `scratch` has scratch_floats(). A gradient that is
// not finite is refused there, and nothing is changed: one element would spoil the whole matrix.
// Arrays of the host: the lane computes at once.
Status UpdateWhole(const UpdateRule& rule, const Tools& tools, const StepScalars& scalars,
                   const UpdateSpan& span, int64_t rows = 0, int64_t columns = 0,
                   float* scratch = nullptr);

}  // namespace ds::optim
