// The table of operations: one row of functions a dtype, filled from lists that end in ref/.
//
// `T` below is the dtype of the row; `void*` arrays hold T, `float*` arrays hold fp32 in every row.
// Everything is computed in fp32 (sums of many terms in a fixed order of chunks that the shape
// alone decides) and rounded once, on storing. Arrays do not alias unless said. Nothing allocates;
// what needs scratch is given it. The first argument of each is a lane, and so may be a pool. Rows,
// widths and lengths may be 0.
//
// Legend: B sequences in the batch, T tokens in a sequence, H heads, D elements of a head,
// K of keys and values, C = H * D channels, V vocabulary.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/task_pool.h"
#include "device/lane.h"
#include "kernels/dropout.h"
#include "kernels/gemm.h"
#include "tensor/dtype.h"

namespace ds::kernels {

// x times the normal distribution function of x (Hendrycks & Gimpel 2016), and the approximation by
// tanh that GPT-2 has (gelu_new).
enum class Gelu : uint8_t { kTanh, kErf };

// AdamW with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), written as DeepSpeed's
// fused kernel computes it: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
// p -= lr * ((m / bias1) / (sqrt(v / bias2) + eps) + weight_decay * p).
// With `decoupled` false the decay is added to the gradient (Adam with L2).
struct AdamScalars {
  float lr, beta1, beta2, eps, weight_decay;
  float bias1, bias2;  // 1 - beta^t, or 1 without bias correction
  float grad_scale;    // the gradient is multiplied by this first (unscale and clip in one)
  bool decoupled;
};

// The scalars of the other update rules; in each the gradient is first multiplied by grad_scale.
// Lion (Chen et al. 2023, algorithm 2): c = b1 m + (1-b1) g; p = p (1 - lr wd) - copysign(lr, c);
// m = b2 m + (1-b2) g. The sign of +0 is +, as in DeepSpeed's CPU kernel.
struct LionScalars {
  float lr, beta1, beta2, weight_decay, grad_scale;
};
// Adagrad (Duchi et al. 2011) with L2: g += wd p; sum += g^2; p -= lr g / (sqrt(sum) + eps).
struct AdagradScalars {
  float lr, eps, weight_decay, grad_scale;
};
// SGD as torch.optim.SGD: g += wd p; buf = momentum buf + (1 - dampening) g, but buf = g the first
// time; p -= lr (nesterov ? g + momentum buf : buf). Without momentum p -= lr g.
struct SgdScalars {
  float lr, momentum, dampening, weight_decay, grad_scale;
  bool nesterov, first;
};
// LAMB as DeepSpeed's fused kernel (csrc/lamb): m, v as Adam without bias correction, and the
// direction u = m / (sqrt(v) + eps) + wd p, or m / sqrt(v + eps) + wd p.
struct LambScalars {
  float beta1, beta2, eps, weight_decay, grad_scale;
  bool eps_inside_sqrt;
};
// Sums of squares of the weights and of the direction of a parameter, or of a part of it.
struct LambSums {
  double weights = 0, direction = 0;
};
// The elementwise start of Muon (Jordan 2024): m = m + (1-beta) (g - m), and its direction
// nesterov ? m - (m - g) (1-beta) : m.
struct MuonScalars {
  float beta, grad_scale;
  bool nesterov;
};

// Sums over rows, which the gradients of weights are, are taken in parts of consecutive rows and
// then over the parts in order: so a core sums the rows that it wrote itself. Fetching those of
// another core costs more than adding them.
constexpr int64_t RowsOfPart(int64_t rows) {
  constexpr int64_t kLeast = 32, kMostParts = 64;
  return std::max(kLeast, (rows + kMostParts - 1) / kMostParts);
}
constexpr int64_t RowParts(int64_t rows) {
  return (rows + RowsOfPart(rows) - 1) / RowsOfPart(rows);
}

struct AttentionShape {
  int64_t batch, tokens, heads, kv_heads, head_dim;
  Dropout dropout = {};  // of probabilities: rows are queries [B, H, T], columns the T keys
  int64_t row() const { return (heads + 2 * kv_heads) * head_dim; }  // of qkv
};

// An operation of a row: a function over arrays of the lane's device, launched by calling it.
template <typename Signature>
class Op;
template <typename... Args>
class Op<void(Args...)> {
 public:
  using Function = void(TaskPool&, Args...);
  Op() = default;
  Op(Function* function) : function_(function) {}

  void operator()(const device::Lane& lane, std::type_identity_t<Args>... args) const {
    lane.Run(function_, args...);
  }

 private:
  Function* function_ = nullptr;
};

struct Ops {
  const char* name;  // "ref", or the instruction set, e.g. "AVX3"
  DType dtype;

  // x[r, c] += bias[c]; rows of x lie `stride` apart.
  Op<void(int64_t rows, int64_t width, int64_t stride, const void* bias, void* x)> add_bias;
  // y[r, c] += bias[c] + x[r, c]: the end of a residual layer. bias may be null: zeros.
  Op<void(int64_t rows, int64_t width, const void* bias, const void* x, void* y)> add_bias_residual;
  // y = x times the factors of the dropout; y may be x. The gradient is the same of dy.
  Op<void(int64_t rows, int64_t width, Dropout dropout, const void* x, void* y)> dropout;
  // y = (y + bias) times the factors + x. bias may be null: zeros.
  Op<void(int64_t rows, int64_t width, Dropout dropout, const void* bias, const void* x, void* y)>
      dropout_residual;
  // dbias[c] (+)= sum over r of dy[r, c]; rows of dy lie `stride` apart. sums: scratch,
  // [RowParts(rows), width].
  Op<void(int64_t rows, int64_t width, int64_t stride, bool accumulate, const void* dy, void* dbias,
          float* sums)>
      bias_grad;
  // y[i] (+)= sum over p of x[p, i], of [parts, n], in order.
  Op<void(int64_t parts, int64_t n, bool accumulate, const float* x, void* y)> sum_parts;
  // x[i] *= a.
  Op<void(int64_t n, float a, void* x)> scale;

  // y = gamma * (x - mean) * rstd + beta over each row; mean, rstd [rows] are kept for backward.
  Op<void(int64_t rows, int64_t width, float eps, const void* x, const void* gamma,
          const void* beta, void* y, float* mean, float* rstd)>
      layer_norm_forward;
  // dx += the gradient (residual streams always add); dgamma, dbeta (+)= by `accumulate`. Either
  // may be null, dgamma with dbeta only: what is frozen has no gradient. sums: scratch,
  // [2, RowParts(rows), width].
  Op<void(int64_t rows, int64_t width, bool accumulate, const void* x, const void* gamma,
          const float* mean, const float* rstd, const void* dy, void* dx, void* dgamma, void* dbeta,
          float* sums)>
      layer_norm_backward;

  // Root-mean-square norm (Zhang & Sennrich 2019): y = gamma x rstd, rstd = 1/sqrt(mean(x^2) +
  // eps), over each of the `heads` vectors of `width` elements that a row holds one behind the
  // other. Rows lie x_stride and y_stride apart; rstd [rows, heads] is kept for backward.
  Op<void(int64_t rows, int64_t heads, int64_t width, int64_t x_stride, int64_t y_stride, float eps,
          const void* x, const void* gamma, void* y, float* rstd)>
      rms_norm_forward;
  // dx = the gradient, or dx += with `add`; rows of dy and dx lie dy_stride apart, and dx may be dy
  // unless it adds. dgamma [width] (+)= by `accumulate`, or null. sums: scratch,
  // [RowParts(rows), width].
  Op<void(int64_t rows, int64_t heads, int64_t width, int64_t x_stride, int64_t dy_stride,
          bool accumulate, bool add, const void* x, const void* gamma, const float* rstd,
          const void* dy, void* dx, void* dgamma, float* sums)>
      rms_norm_backward;

  // y [rows, width] = silu(gate) up, x [rows, 2 width] = gate, up (Shazeer 2020, SwiGLU).
  Op<void(int64_t rows, int64_t width, const void* x, void* y)> swiglu_forward;
  // dx [rows, 2 width] from x as above and dy [rows, width].
  Op<void(int64_t rows, int64_t width, const void* x, const void* dy, void* dx)> swiglu_backward;

  // Rotates, in place, the first `heads` vectors of D elements of each row (rows `stride` apart) by
  // halves: (a, b) -> (a cos - b sin, b cos + a sin), a and b the first and second D/2 elements (Su
  // et al. 2021). table [T, D] fp32: D/2 cosines, then D/2 sines, of position r % T. `inverse`
  // rotates back, which is also the gradient.
  Op<void(int64_t rows, int64_t tokens, int64_t heads, int64_t head_dim, int64_t stride,
          bool inverse, const float* table, void* x)>
      rope;

  // y = gelu(x + bias), of the sum rounded to T; x becomes the slope gelu'(x + bias), which is all
  // that backward needs.
  Op<void(int64_t rows, int64_t width, Gelu form, const void* bias, void* x, void* y)>
      bias_gelu_forward;
  // out = a * b; out may be either.
  Op<void(int64_t n, const void* a, const void* b, void* out)> multiply;

  // y[r] = wte[ids[r]] + wpe[positions[r]]; wpe null: no positions. ids in [0, V) and positions
  // were checked by the caller.
  Op<void(int64_t rows, int64_t width, const int32_t* ids, const int32_t* positions,
          const void* wte, const void* wpe, void* y)>
      embedding_forward;
  // dw[id] += the rows of dy with that id, in their order.
  Op<void(int64_t rows, int64_t width, int64_t vocab, const int32_t* ids, const void* dy, void* dw)>
      embedding_backward;

  // Rows of logits in place: losses[r] = -log softmax(x[r])[target[r]] and x becomes its gradient
  // times `scale`. target -1 counts for nothing: loss 0, gradient 0.
  Op<void(int64_t rows, int64_t vocab, float scale, const int32_t* targets, void* logits,
          float* losses)>
      cross_entropy;
  // The losses alone: the bits of those of cross_entropy. What the logits become is not said.
  Op<void(int64_t rows, int64_t vocab, const int32_t* targets, void* logits, float* losses)>
      token_losses;

  // Causal attention on qkv -> out [B, T, H, D], scaled by 1/sqrt(D). A row of qkv is H queries, K
  // keys, K values of D elements each; H / K consecutive queries share a key (Ainslie et al. 2023).
  // Token t sees the tokens from first_key [B, T] on, which are at most t and do not fall along a
  // sequence; null: from 0. Probabilities are multiplied by the factors of shape.dropout. lse
  // [B, H, T]: log-sum-exp of each row, kept for backward. Memory linear in T.
  Op<void(Gemm&, const AttentionShape& shape, const int32_t* first_key, const void* qkv, void* out,
          float* lse, void* scratch)>
      attention_forward;
  // out [H, D]: the query q [H, D] of one token over tokens [first, length) of a cache of keys and
  // of values, [.., K, D] each, as above; itself the last. Batch and tokens of the shape are not
  // read, nor is its dropout. scores: scratch, [H, length].
  Op<void(const AttentionShape& shape, int64_t first, int64_t length, const void* q,
          const void* keys, const void* values, float* scores, void* out)>
      attention_cached;
  // dqkv = the gradient of qkv, recomputed from qkv, out, lse; it is none of what is read.
  Op<void(Gemm&, const AttentionShape& shape, const int32_t* first_key, const void* qkv,
          const void* out, const float* lse, const void* dout, void* dqkv, void* scratch)>
      attention_backward;
  // Bytes of scratch that either attention function needs: per lane times pool.threads().
  int64_t (*attention_scratch_bytes)(const TaskPool&, int64_t tokens, int64_t head_dim);

  // acc[i] += g[i] rounded to T; g holds fp32 or T.
  Op<void(int64_t n, DType g_dtype, const void* g, void* acc)> accumulate;
  // Sum of squares of n elements, in double, in chunks fixed by n.
  Op<void(int64_t n, const void* x, double* sum)> sum_of_squares;
  // One pass over a share: unscale, clip, AdamW on fp32 master, m, v; `weights` (T) receives the
  // rounded master, unless it is the master itself (T = fp32: pass weights == master).
  Op<void(int64_t n, const AdamScalars& scalars, const void* grad, float* master, float* m,
          float* v, void* weights)>
      adam;
  // The other rules over a share, of which an element's bits do not depend on where it is cut.
  // grad and weights as for `adam`.
  Op<void(int64_t n, const LionScalars& scalars, const void* grad, float* master, float* m,
          void* weights)>
      lion;
  Op<void(int64_t n, const AdagradScalars& scalars, const void* grad, float* master, float* sum,
          void* weights)>
      adagrad;
  // `buffer` is not read without momentum and may then be NULL.
  Op<void(int64_t n, const SgdScalars& scalars, const void* grad, float* master, float* buffer,
          void* weights)>
      sgd;
  // LAMB in two passes, because the step of an element hangs on norms of the whole parameter:
  // the first moves m and v and sums (in double, in chunks fixed by n), the second moves p by
  // -step * u, with the same u.
  Op<void(int64_t n, const LambScalars& scalars, const void* grad, const float* master, float* m,
          float* v, LambSums* sums)>
      lamb_moments;
  Op<void(int64_t n, const LambScalars& scalars, float step, float* master, const float* m,
          const float* v, void* weights)>
      lamb_apply;
  Op<void(int64_t n, const MuonScalars& scalars, const void* grad, float* momentum,
          float* direction)>
      muon_direction;
  // p = p (1 - lr weight_decay) - step * direction.
  Op<void(int64_t n, float lr, float weight_decay, float step, const float* direction,
          float* master, void* weights)>
      decay_and_step;
  // out = a x + b y in fp32; out may be x or y.
  Op<void(int64_t n, float a, const float* x, float b, const float* y, float* out)> combine;
  // fp32 -> T and T -> fp32.
  Op<void(int64_t n, const float* x, void* y)> from_float;
  Op<void(int64_t n, const void* x, float* y)> to_float;
};

// The plain reference of every op: right in the tests, last in the list.
const Ops& RefOps(DType dtype);
// The best functions for this machine: SIMD (Google Highway, chosen at run time) before ref.
const Ops& BestOps(DType dtype);
// Of an array of the host.
inline double SumOfSquares(const Ops& ops, TaskPool& pool, int64_t n, const void* x) {
  double sum = 0;
  ops.sum_of_squares(pool, n, x, &sum);
  return sum;
}
// Name of the chosen instruction set, as DS_CPU_ISA has it, for reports.
const char* InstructionSet();
// Whether DS_CPU_ISA, where it is set, names one.
Status CheckInstructionSet();

}  // namespace ds::kernels
