// Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): the momentum of a matrix,
// brought near the closest orthogonal matrix by five steps of a quintic Newton-Schulz iteration.
// Other parameters go by the AdamW beside it (DeepSpeed's MuonWithAuxAdam).
//
// The iteration runs in fp32 whatever `ns_method` says: DeepSpeed's "gram" and "standard" are two
// orders of the same polynomial, which differ in the rounding of 16-bit units that a CPU lacks.
#include <algorithm>
#include <cmath>

#include "optim/adam.h"
#include "optim/rules.h"

namespace ds::optim {
namespace {

struct MuonOptions {
  double lr = 0.02, momentum = 0.95, weight_decay = 0;
  bool nesterov = true;
  int64_t iterations = 5;
};

class MuonRule : public UpdateRule {
 public:
  // OneCycle leaves the betas of both halves alone in DeepSpeed, too.
  MuonRule(const MuonOptions& options, const AdamWOptions& adam)
      : options_(options), adam_(adam, /*cycled=*/false) {}

  const char* name() const override { return "Muon"; }
  Scope scope() const override { return Scope::kMatrix; }
  std::span<const char* const> state_names() const override {
    static constexpr const char* kNames[] = {"momentum_buffer"};
    return kNames;
  }
  double lr() const override { return options_.lr; }
  const UpdateRule& other() const override { return adam_; }

  void Prepare(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
               ParamSums*) const override {
    const kernels::MuonScalars s = {.beta = static_cast<float>(options_.momentum),
                                    .grad_scale = static_cast<float>(scalars.grad_scale),
                                    .nesterov = options_.nesterov};
    tools.ops.muon_direction(tools.lane, span.n, s, span.grad, span.states[0], span.direction);
  }

  int64_t scratch_floats(int64_t rows, int64_t columns) const override {
    const int64_t side = std::min(rows, columns);
    return kSumFloats + 2 * side * side + rows * columns;
  }

  Status TransformWhole(const Tools& tools, int64_t rows, int64_t columns, float* direction,
                        float* scratch) const override;

  void Apply(const Tools& tools, const StepScalars& scalars, const UpdateSpan& span,
             const ParamSums&) const override {
    const auto lr = static_cast<float>(scalars.lr);
    tools.ops.decay_and_step(tools.lane, span.n, lr,
                             scalars.decay ? static_cast<float>(options_.weight_decay) : 0.0f, lr,
                             span.direction, span.master, span.weights);
  }

 private:
  static constexpr int64_t kSumFloats = 16;  // a double at the start of the scratch, and its line

  const MuonOptions options_;
  const AdamRule adam_;
};

// X <- a X + (b S + c S S) X with S = X X^T on the shorter side, which is the transposed form of
// the same where there are more rows than columns. Coefficients: the post above.
Status MuonRule::TransformWhole(const Tools& tools, int64_t rows, int64_t columns, float* direction,
                                float* scratch) const {
  constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  if (rows == 0 || columns == 0) return {};
  const int64_t n = rows * columns, side = std::min(rows, columns);
  const bool tall = rows > columns;
  float* square = scratch + kSumFloats;
  float* polynomial = square + side * side;
  float* product = polynomial + side * side;
  const auto combine = [&](int64_t count, double a, const float* x, double b, const float* y,
                           float* out) {
    tools.ops.combine(tools.lane, count, static_cast<float>(a), x, static_cast<float>(b), y, out);
  };
  const auto matmul = [&](kernels::GemmShape shape, const float* a, const float* b, float* c) {
    kernels::Matmul(*tools.gemm, tools.lane, shape, a, b, c);
  };
  const kernels::GemmShape gram = {.m = side,
                                   .n = side,
                                   .k = std::max(rows, columns),
                                   .lda = columns,
                                   .ldb = columns,
                                   .ldc = side,
                                   .trans_a = tall,
                                   .trans_b = !tall};
  const kernels::GemmShape squared = {
      .m = side, .n = side, .k = side, .lda = side, .ldb = side, .ldc = side};
  const kernels::GemmShape applied = {.m = rows,
                                      .n = columns,
                                      .k = side,
                                      .lda = tall ? columns : side,
                                      .ldb = columns,
                                      .ldc = columns};

  auto* sum = reinterpret_cast<double*>(scratch);
  double squares = 0;
  tools.wide.sum_of_squares(tools.lane, n, direction, sum);
  DS_TRY(tools.lane.Download(&squares, sum, sizeof(squares)));
  const double unit = 1.0 / (std::sqrt(squares) + 1e-7);
  combine(n, unit, direction, 0, direction, direction);
  for (int64_t i = 0; i < options_.iterations; ++i) {
    matmul(gram, direction, direction, square);
    matmul(squared, square, square, polynomial);
    combine(side * side, kB, square, kC, polynomial, polynomial);
    matmul(applied, tall ? direction : polynomial, tall ? polynomial : direction, product);
    combine(n, kA, direction, 1, product, direction);
  }
  const double ratio = static_cast<double>(rows) / static_cast<double>(columns);
  if (tall) combine(n, std::sqrt(ratio), direction, 0, direction, direction);
  return {};
}

}  // namespace

std::unique_ptr<UpdateRule> CreateMuon(Params& params) {
  MuonOptions muon;
  AdamWOptions adam = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-10};
  params.Read("lr", muon.lr, 0, kNoLimit);
  if (params.has("lr")) adam.lr = muon.lr;
  params.Read("muon_lr", muon.lr, 0, kNoLimit);
  params.Read("adam_lr", adam.lr, 0, kNoLimit);
  params.Read("momentum", muon.momentum, 0, 1);
  params.Read("nesterov", muon.nesterov);
  params.Read("ns_steps", muon.iterations, 1);
  if (muon.iterations > 100) {  // a few bring it there; a slip would take days
    params.Fail(
        Error(Code::kConfig, "optimizer.params.ns_steps is {}, not in 1..100", muon.iterations));
  }
  params.Read("weight_decay", muon.weight_decay, 0, kNoLimit);
  adam.weight_decay = muon.weight_decay;
  params.ReadBetas("betas", adam.beta1, adam.beta2);
  params.Read("eps", adam.eps, 0, kNoLimit);
  params.Read("adam_w_mode", adam.decoupled);
  params.Neutral("per_head_muon", false, "a matrix is orthogonalised as one");
  params.Neutral("fp32_optimizer_states", true, "optimizer states are fp32");
  params.Ignore("torch_adam");
  std::string method = "gram";
  params.ReadChoice("ns_method", method, {"gram", "standard"});
  return std::make_unique<MuonRule>(muon, adam);
}

}  // namespace ds::optim
