// Tiled attention against the plain way to compute it with the products of the matrix back end and
// the same exponential: all scores of a head in memory, a softmax over whole rows, the values'
// product. And the gradients of a model with one key head, on all cores against one: a head is
// a task of its own where there are enough of them.
#include <limits>

#include "ratio.h"
#include "rig.h"

namespace ds::bench {
namespace {

class Attention {
 public:
  Attention(TaskPool& pool, kernels::Gemm& gemm, DType dtype, int64_t batch, int64_t tokens)
      : pool_(pool),
        gemm_(gemm),
        ops_(kernels::BestOps(dtype)),
        batch_(batch),
        tokens_(tokens),
        qkv_(pool, dtype, batch * tokens * 3 * kWidth),
        out_(pool, dtype, batch * tokens * kWidth),
        lse_(pool, DType::kF32, batch * kHeads * tokens),
        scores_(pool, dtype, batch * kHeads * tokens * tokens),
        scratch_(pool, DType::kF32, ops_.attention_scratch_bytes(pool, tokens, kDim) / 4),
        targets_(static_cast<size_t>(tokens), 0) {}

  void Tiled() {
    ops_.attention_forward(pool_, gemm_, {batch_, tokens_, kHeads, kHeads, kDim}, nullptr,
                           qkv_.data(), out_.data(), lse_.floats(), scratch_.data());
  }

  void Whole() {
    if (ops_.dtype == DType::kF32) {
      WholeAs<float>();
    } else {
      WholeAs<BF16>();
    }
  }

 private:
  static constexpr int64_t kHeads = 6, kDim = 64, kWidth = kHeads * kDim;

  // A head a task. The row-wise softmax is the one inside the loss op, which is off by one in a
  // column of no interest to a clock.
  template <typename T>
  void WholeAs() {
    pool_.Run(batch_ * kHeads, [&](int64_t head, int) {
      const int64_t b = head / kHeads, h = head % kHeads;
      const T* q = static_cast<T*>(qkv_.data()) + b * tokens_ * 3 * kWidth + h * kDim;
      T* scores = static_cast<T*>(scores_.data()) + head * tokens_ * tokens_;
      gemm_.Tile({.m = tokens_,
                  .n = tokens_,
                  .k = kDim,
                  .lda = 3 * kWidth,
                  .ldb = 3 * kWidth,
                  .ldc = tokens_,
                  .trans_b = true,
                  .in = ops_.dtype,
                  .out = ops_.dtype},
                 q, q + kWidth, scores);
      for (int64_t t = 0; t < tokens_; ++t) {
        std::fill(scores + t * tokens_ + t + 1, scores + (t + 1) * tokens_,
                  T(-std::numeric_limits<float>::infinity()));
      }
      TaskPool alone(1);
      ops_.cross_entropy(alone, tokens_, tokens_, 1.0f, targets_.data(), scores,
                         lse_.floats() + head * tokens_);
      gemm_.Tile({.m = tokens_,
                  .n = kDim,
                  .k = tokens_,
                  .lda = tokens_,
                  .ldb = 3 * kWidth,
                  .ldc = kWidth,
                  .in = ops_.dtype,
                  .out = ops_.dtype},
                 scores, q + 2 * kWidth,
                 static_cast<T*>(out_.data()) + b * tokens_ * kWidth + h * kDim);
    });
  }

  TaskPool& pool_;
  kernels::Gemm& gemm_;
  const kernels::Ops& ops_;
  const int64_t batch_, tokens_;
  Array qkv_, out_, lse_, scores_, scratch_;
  std::vector<int32_t> targets_;
};

// Backward, of queries that share a key head.
class OneKeyHead {
 public:
  OneKeyHead(TaskPool& pool, kernels::Gemm& gemm, DType dtype, int64_t tokens)
      : gemm_(gemm),
        ops_(kernels::BestOps(dtype)),
        shape_{1, tokens, kHeads, 1, kDim},
        qkv_(pool, dtype, tokens * shape_.row()),
        dqkv_(pool, dtype, tokens * shape_.row()),
        out_(pool, dtype, tokens * kHeads * kDim),
        dout_(pool, dtype, tokens * kHeads * kDim),
        lse_(pool, DType::kF32, kHeads * tokens),
        scratch_(pool, DType::kF32, ops_.attention_scratch_bytes(pool, tokens, kDim) / 4) {
    ops_.attention_forward(pool, gemm_, shape_, nullptr, qkv_.data(), out_.data(), lse_.floats(),
                           scratch_.data());
  }

  void Backward(TaskPool& pool) {
    ops_.attention_backward(pool, gemm_, shape_, nullptr, qkv_.data(), out_.data(), lse_.floats(),
                            dout_.data(), dqkv_.data(), scratch_.data());
  }

 private:
  static constexpr int64_t kHeads = 4, kDim = 64;

  kernels::Gemm& gemm_;
  const kernels::Ops& ops_;
  const kernels::AttentionShape shape_;
  Array qkv_, dqkv_, out_, dout_, lse_, scratch_;
};

}  // namespace
}  // namespace ds::bench

int main() {
  using namespace ds;
  TaskPool pool(UsableCores());
  const auto gemm = bench::BestGemm();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t tokens : {256, 1024}) {
      bench::Attention attention(pool, *gemm, dtype, 4, tokens);
      const double ratio =
          bench::MedianRatio([&] { attention.Tiled(); }, [&] { attention.Whole(); });
      bench::Report(fmt::format("attention/{}_{}", DTypeName(dtype), tokens), ratio,
                    "whole matrices", 1.0);
    }
    // Two passes instead of one, on all cores.
    TaskPool one(1);
    bench::OneKeyHead head(pool, *gemm, dtype, 2048);
    const double ratio =
        bench::MedianRatio([&] { head.Backward(pool); }, [&] { head.Backward(one); });
    bench::Report(fmt::format("attention/one_key_head_{}", DTypeName(dtype)), ratio, "one core",
                  0.9 / 1.7 * UsableCores());
  }
}
