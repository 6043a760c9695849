// The table of operations: one row of functions a dtype, filled from lists that end in ref/.
//
// `T` below is the dtype of the row; `void*` arrays hold T, `float*` arrays hold fp32 in every row.
// Everything is computed in fp32 (sums of many terms in a fixed order of chunks that the shape
// alone decides) and rounded once, on storing. Arrays do not alias unless said. Nothing allocates;
// what needs scratch is given it. Rows, widths and lengths may be 0.
//
// Legend: B sequences in the batch, T tokens in a sequence, H heads, D elements of a head,
// C = H * D channels, V vocabulary.
#pragma once

#include <cstdint>

#include "base/task_pool.h"
#include "kernels/gemm.h"
#include "tensor/dtype.h"

namespace ds::kernels {

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

struct Ops {
  const char* name;  // "ref", or the instruction set, e.g. "AVX3"
  DType dtype;

  // x[r, c] += bias[c]
  void (*add_bias)(TaskPool&, int64_t rows, int64_t width, const void* bias, void* x);
  // y[r, c] += bias[c] + x[r, c]: the end of a residual layer.
  void (*add_bias_residual)(TaskPool&, int64_t rows, int64_t width, const void* bias, const void* x,
                            void* y);
  // dbias[c] (+)= sum over r of dy[r, c]
  void (*bias_grad)(TaskPool&, int64_t rows, int64_t width, bool accumulate, const void* dy,
                    void* dbias);

  // y = gamma * (x - mean) * rstd + beta over each row; mean, rstd [rows] are kept for backward.
  void (*layer_norm_forward)(TaskPool&, int64_t rows, int64_t width, float eps, const void* x,
                             const void* gamma, const void* beta, void* y, float* mean,
                             float* rstd);
  // dx += the gradient (residual streams always add); dgamma, dbeta (+)= by `accumulate`.
  void (*layer_norm_backward)(TaskPool&, int64_t rows, int64_t width, bool accumulate,
                              const void* x, const void* gamma, const float* mean,
                              const float* rstd, const void* dy, void* dx, void* dgamma,
                              void* dbeta);

  // y = gelu(x + bias), tanh form (GPT-2's gelu_new); x + bias is stored back to x.
  void (*bias_gelu_forward)(TaskPool&, int64_t rows, int64_t width, const void* bias, void* x,
                            void* y);
  // dx = dy * gelu'(x), x as bias_gelu_forward left it; dx may be dy.
  void (*gelu_backward)(TaskPool&, int64_t n, const void* x, const void* dy, void* dx);

  // y[r] = wte[ids[r]] + wpe[r % T]; ids in [0, V) was checked by the caller.
  void (*embedding_forward)(TaskPool&, int64_t rows, int64_t tokens, int64_t width,
                            const int32_t* ids, const void* wte, const void* wpe, void* y);
  // dwte[id] += the rows of dy with that id (it always adds: a tied head wrote first);
  // dwpe[t] (+)= the rows of dy at position t. Token order within a sum.
  void (*embedding_backward)(TaskPool&, int64_t rows, int64_t tokens, int64_t width, int64_t vocab,
                             bool accumulate_wpe, const int32_t* ids, const void* dy, void* dwte,
                             void* dwpe);

  // Rows of logits in place: losses[r] = -log softmax(x[r])[target[r]] and x becomes its gradient
  // times `scale`. target -1 counts for nothing: loss 0, gradient 0.
  void (*cross_entropy)(TaskPool&, int64_t rows, int64_t vocab, float scale, const int32_t* targets,
                        void* logits, float* losses);

  // Causal attention on qkv [B, T, 3, H, D] -> out [B, T, H, D], scaled by 1/sqrt(D).
  // lse [B, H, T]: log-sum-exp of each row, kept for backward. Memory linear in T.
  void (*attention_forward)(TaskPool&, Gemm&, int64_t batch, int64_t tokens, int64_t heads,
                            int64_t head_dim, const void* qkv, void* out, float* lse,
                            void* scratch);
  // dqkv = the gradient of qkv, recomputed from qkv, out, lse.
  void (*attention_backward)(TaskPool&, Gemm&, int64_t batch, int64_t tokens, int64_t heads,
                             int64_t head_dim, const void* qkv, const void* out, const float* lse,
                             const void* dout, void* dqkv, void* scratch);
  // Bytes of scratch that either attention function needs: per lane times pool.threads().
  int64_t (*attention_scratch_bytes)(const TaskPool&, int64_t tokens, int64_t head_dim);

  // acc[i] += g[i] rounded to T; g holds fp32 or T.
  void (*accumulate)(TaskPool&, int64_t n, DType g_dtype, const void* g, void* acc);
  // Sum of squares of n elements, in double, in chunks fixed by n.
  double (*sum_of_squares)(TaskPool&, int64_t n, const void* x);
  // One pass over a share: unscale, clip, AdamW on fp32 master, m, v; `weights` (T) receives the
  // rounded master, unless it is the master itself (T = fp32: pass weights == master).
  void (*adam)(TaskPool&, int64_t n, const AdamScalars& scalars, const void* grad, float* master,
               float* m, float* v, void* weights);
  // fp32 -> T and T -> fp32.
  void (*from_float)(TaskPool&, int64_t n, const float* x, void* y);
  void (*to_float)(TaskPool&, int64_t n, const void* x, float* y);
};

// The plain reference of every op: right in the tests, last in the list.
const Ops& RefOps(DType dtype);
// The best functions for this machine: SIMD (Google Highway, chosen at run time) before ref.
const Ops& BestOps(DType dtype);
// "AVX3_SPR"-like name of the chosen instruction set, for reports.
const char* InstructionSet();

}  // namespace ds::kernels
