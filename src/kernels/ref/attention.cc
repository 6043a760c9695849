// Causal attention, row by row: scores of one query at a time, so memory is linear in T.
// Backward as in Dao et al., "FlashAttention", 2022, appendix B: p from the kept log-sum-exp,
// dS = p (dP - rowsum(dO o)).
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

struct Layout {
  int64_t tokens, heads, dim;
  // Element d of token t, head h: of q, k, v (part 0, 1, 2) in qkv, and in out.
  int64_t Qkv(int64_t b, int64_t t, int part, int64_t h, int64_t d) const {
    return (((b * tokens + t) * 3 + part) * heads + h) * dim + d;
  }
  int64_t Out(int64_t b, int64_t t, int64_t h, int64_t d) const {
    return ((b * tokens + t) * heads + h) * dim + d;
  }
};

template <typename T>
double Score(const Layout& at, const void* qkv, int64_t b, int64_t h, int64_t i, int64_t j) {
  double dot = 0;
  for (int64_t d = 0; d < at.dim; ++d) {
    dot += static_cast<double>(Load<T>(qkv, at.Qkv(b, i, 0, h, d))) *
           Load<T>(qkv, at.Qkv(b, j, 1, h, d));
  }
  return dot / std::sqrt(static_cast<double>(at.dim));
}

template <typename T>
void Forward(TaskPool&, Gemm&, int64_t batch, int64_t tokens, int64_t heads, int64_t head_dim,
             const void* qkv, void* out, float* lse, void*) {
  const Layout at = {tokens, heads, head_dim};
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < tokens; ++i) {
        double most = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = 0; j <= i; ++j) most = std::max(most, Score<T>(at, qkv, b, h, i, j));
        for (int64_t j = 0; j <= i; ++j) sum += std::exp(Score<T>(at, qkv, b, h, i, j) - most);
        const double log_sum = most + std::log(sum);
        lse[(b * heads + h) * tokens + i] = static_cast<float>(log_sum);
        for (int64_t d = 0; d < head_dim; ++d) {
          double mean = 0;
          for (int64_t j = 0; j <= i; ++j) {
            mean += std::exp(Score<T>(at, qkv, b, h, i, j) - log_sum) *
                    Load<T>(qkv, at.Qkv(b, j, 2, h, d));
          }
          Store<T>(out, at.Out(b, i, h, d), mean);
        }
      }
    }
  }
}

// The gradients that key j and query j collect are summed over the queries in order.
template <typename T>
void Backward(TaskPool&, Gemm&, int64_t batch, int64_t tokens, int64_t heads, int64_t head_dim,
              const void* qkv, const void* out, const float* lse, const void* dout, void* dqkv,
              void*) {
  const Layout at = {tokens, heads, head_dim};
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  const auto dot_out = [&](const void* x, auto index, int64_t b, int64_t i, int64_t h) {
    double sum = 0;
    for (int64_t d = 0; d < head_dim; ++d) {
      sum += static_cast<double>(Load<T>(x, index(d))) * Load<T>(dout, at.Out(b, i, h, d));
    }
    return sum;
  };
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      const auto p = [&](int64_t i, int64_t j) {
        return std::exp(Score<T>(at, qkv, b, h, i, j) - lse[(b * heads + h) * tokens + i]);
      };
      const auto ds = [&](int64_t i, int64_t j) {
        const double dp = dot_out(
            qkv, [&](int64_t d) { return at.Qkv(b, j, 2, h, d); }, b, i, h);
        const double delta = dot_out(
            out, [&](int64_t d) { return at.Out(b, i, h, d); }, b, i, h);
        return p(i, j) * (dp - delta) * scale;
      };
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t d = 0; d < head_dim; ++d) {
          double dq = 0, dk = 0, dv = 0;
          for (int64_t j = 0; j <= t; ++j) dq += ds(t, j) * Load<T>(qkv, at.Qkv(b, j, 1, h, d));
          for (int64_t i = t; i < tokens; ++i) {
            dk += ds(i, t) * Load<T>(qkv, at.Qkv(b, i, 0, h, d));
            dv += p(i, t) * Load<T>(dout, at.Out(b, i, h, d));
          }
          Store<T>(dqkv, at.Qkv(b, t, 0, h, d), dq);
          Store<T>(dqkv, at.Qkv(b, t, 1, h, d), dk);
          Store<T>(dqkv, at.Qkv(b, t, 2, h, d), dv);
        }
      }
    }
  }
}

}  // namespace

template <typename T>
void FillAttention(Ops& ops) {
  ops.attention_forward = Forward<T>;
  ops.attention_backward = Backward<T>;
  ops.attention_scratch_bytes = [](const TaskPool&, int64_t, int64_t) { return int64_t{0}; };
}
template void FillAttention<float>(Ops&);
template void FillAttention<BF16>(Ops&);
template void FillAttention<F16>(Ops&);

}  // namespace ds::kernels::ref
