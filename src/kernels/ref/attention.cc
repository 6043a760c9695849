// Causal attention, row by row: scores of one query at a time, so memory is linear in T.
// Probabilities that dropout takes out, or enlarges, count so in the sums, not in the log-sum-exp.
// Backward as in Dao et al., "FlashAttention", 2022, appendix B: p from the kept log-sum-exp,
// dS = p (dP - rowsum(dO o)).
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

struct Layout {
  const AttentionShape& shape;
  const int32_t* first_key;

  int64_t group() const { return shape.heads / shape.kv_heads; }  // queries of a key
  int64_t First(int64_t b, int64_t t) const {
    return first_key == nullptr ? 0 : first_key[b * shape.tokens + t];
  }
  // Element d of token t: of query h, of the key and value k, and of out.
  int64_t Query(int64_t b, int64_t t, int64_t h, int64_t d) const {
    return (b * shape.tokens + t) * shape.row() + h * shape.head_dim + d;
  }
  int64_t Key(int64_t b, int64_t t, int64_t k, int64_t d) const {
    return Query(b, t, shape.heads + k, d);
  }
  int64_t Value(int64_t b, int64_t t, int64_t k, int64_t d) const {
    return Query(b, t, shape.heads + shape.kv_heads + k, d);
  }
  double Keep(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return shape.dropout.Factor((b * shape.heads + h) * shape.tokens + i, shape.tokens, j);
  }
  int64_t Out(int64_t b, int64_t t, int64_t h, int64_t d) const {
    return ((b * shape.tokens + t) * shape.heads + h) * shape.head_dim + d;
  }
};

template <typename T>
double Score(const Layout& at, const void* qkv, int64_t b, int64_t h, int64_t i, int64_t j) {
  double dot = 0;
  for (int64_t d = 0; d < at.shape.head_dim; ++d) {
    dot += static_cast<double>(Load<T>(qkv, at.Query(b, i, h, d))) *
           Load<T>(qkv, at.Key(b, j, h / at.group(), d));
  }
  return dot / std::sqrt(static_cast<double>(at.shape.head_dim));
}

template <typename T>
void Forward(TaskPool&, Gemm&, const AttentionShape& shape, const int32_t* first_key,
             const void* qkv, void* out, float* lse, void*) {
  const Layout at = {shape, first_key};
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t i = 0; i < shape.tokens; ++i) {
        const int64_t first = at.First(b, i);
        double most = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = first; j <= i; ++j) most = std::max(most, Score<T>(at, qkv, b, h, i, j));
        for (int64_t j = first; j <= i; ++j) sum += std::exp(Score<T>(at, qkv, b, h, i, j) - most);
        const double log_sum = most + std::log(sum);
        lse[(b * shape.heads + h) * shape.tokens + i] = static_cast<float>(log_sum);
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          double mean = 0;
          for (int64_t j = first; j <= i; ++j) {
            mean += at.Keep(b, h, i, j) * std::exp(Score<T>(at, qkv, b, h, i, j) - log_sum) *
                    Load<T>(qkv, at.Value(b, j, h / at.group(), d));
          }
          Store<T>(out, at.Out(b, i, h, d), mean);
        }
      }
    }
  }
}

template <typename T>
void Cached(TaskPool&, const AttentionShape& shape, int64_t first, int64_t length, const void* q,
            const void* keys, const void* values, float*, void* out) {
  const int64_t dim = shape.head_dim;
  for (int64_t h = 0; h < shape.heads; ++h) {
    const int64_t k = h / (shape.heads / shape.kv_heads);
    const auto at = [&](int64_t t, int64_t d) { return (t * shape.kv_heads + k) * dim + d; };
    const auto score = [&](int64_t t) {
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d) {
        dot += static_cast<double>(Load<T>(q, h * dim + d)) * Load<T>(keys, at(t, d));
      }
      return dot / std::sqrt(static_cast<double>(dim));
    };
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t t = first; t < length; ++t) most = std::max(most, score(t));
    for (int64_t t = first; t < length; ++t) sum += std::exp(score(t) - most);
    for (int64_t d = 0; d < dim; ++d) {
      double mean = 0;
      for (int64_t t = first; t < length; ++t) {
        mean += std::exp(score(t) - most) / sum * Load<T>(values, at(t, d));
      }
      Store<T>(out, h * dim + d, mean);
    }
  }
}

// What the backward pass of one pair of a query and a key needs.
template <typename T>
struct Pairs {
  const Layout& at;
  const void *qkv, *out, *dout;
  const float* lse;

  double p(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return std::exp(Score<T>(at, qkv, b, h, i, j) -
                    lse[(b * at.shape.heads + h) * at.shape.tokens + i]);
  }
  double ds(int64_t b, int64_t h, int64_t i, int64_t j) const {
    double dp = 0, delta = 0;
    for (int64_t d = 0; d < at.shape.head_dim; ++d) {
      const double grad = Load<T>(dout, at.Out(b, i, h, d));
      dp += Load<T>(qkv, at.Value(b, j, h / at.group(), d)) * grad;
      delta += Load<T>(out, at.Out(b, i, h, d)) * grad;
    }
    return p(b, h, i, j) * (at.Keep(b, h, i, j) * dp - delta) /
           std::sqrt(static_cast<double>(at.shape.head_dim));
  }
};

// The gradients that a key and a value collect are summed over their queries in order.
template <typename T>
void Backward(TaskPool&, Gemm&, const AttentionShape& shape, const int32_t* first_key,
              const void* qkv, const void* out, const float* lse, const void* dout, void* dqkv,
              void*) {
  const Layout at = {shape, first_key};
  const Pairs<T> pairs = {at, qkv, out, dout, lse};
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t t = 0; t < shape.tokens; ++t) {
      for (int64_t h = 0; h < shape.heads; ++h) {
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          double dq = 0;
          for (int64_t j = at.First(b, t); j <= t; ++j) {
            dq += pairs.ds(b, h, t, j) * Load<T>(qkv, at.Key(b, j, h / at.group(), d));
          }
          Store<T>(dqkv, at.Query(b, t, h, d), dq);
        }
      }
      for (int64_t k = 0; k < shape.kv_heads; ++k) {
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          double dk = 0, dv = 0;
          for (int64_t h = k * at.group(); h < (k + 1) * at.group(); ++h) {
            for (int64_t i = t; i < shape.tokens; ++i) {
              if (at.First(b, i) > t) continue;
              dk += pairs.ds(b, h, i, t) * Load<T>(qkv, at.Query(b, i, h, d));
              dv += at.Keep(b, h, i, t) * pairs.p(b, h, i, t) * Load<T>(dout, at.Out(b, i, h, d));
            }
          }
          Store<T>(dqkv, at.Key(b, t, k, d), dk);
          Store<T>(dqkv, at.Value(b, t, k, d), dv);
        }
      }
    }
  }
}

}  // namespace

template <typename T>
void FillAttention(Ops& ops) {
  ops.attention_forward = Forward<T>;
  ops.attention_cached = Cached<T>;
  ops.attention_backward = Backward<T>;
  ops.attention_scratch_bytes = [](const TaskPool&, int64_t, int64_t) { return int64_t{0}; };
}
template void FillAttention<float>(Ops&);
template void FillAttention<BF16>(Ops&);
template void FillAttention<F16>(Ops&);

}  // namespace ds::kernels::ref
