#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

struct RowSums {
  double most, sum;  // the largest logit, and the sum of exp of what each is below it
};
template <typename T>
RowSums SumsOfRow(int64_t row, int64_t vocab, const void* logits) {
  RowSums sums = {-std::numeric_limits<double>::infinity(), 0};
  for (int64_t v = 0; v < vocab; ++v) {
    sums.most = std::max<double>(sums.most, Load<T>(logits, row + v));
  }
  for (int64_t v = 0; v < vocab; ++v) sums.sum += std::exp(Load<T>(logits, row + v) - sums.most);
  return sums;
}

template <typename T>
void TokenLosses(TaskPool&, int64_t rows, int64_t vocab, const int32_t* targets, void* logits,
                 float* losses) {
  for (int64_t r = 0; r < rows; ++r) {
    losses[r] = 0;
    if (targets[r] < 0) continue;
    const auto [most, sum] = SumsOfRow<T>(r * vocab, vocab, logits);
    losses[r] = static_cast<float>(most + std::log(sum) - Load<T>(logits, r * vocab + targets[r]));
  }
}

template <typename T>
void CrossEntropy(TaskPool& pool, int64_t rows, int64_t vocab, float scale, const int32_t* targets,
                  void* logits, float* losses) {
  TokenLosses<T>(pool, rows, vocab, targets, logits, losses);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = r * vocab;
    const int32_t target = targets[r];
    if (target < 0) {
      for (int64_t v = 0; v < vocab; ++v) Store<T>(logits, row + v, 0.0);
      continue;
    }
    const auto [most, sum] = SumsOfRow<T>(row, vocab, logits);
    for (int64_t v = 0; v < vocab; ++v) {
      const double p = std::exp(Load<T>(logits, row + v) - most) / sum;
      Store<T>(logits, row + v, scale * (p - (v == target ? 1.0 : 0.0)));
    }
  }
}

}  // namespace

template <typename T>
void FillLoss(Ops& ops) {
  ops.cross_entropy = CrossEntropy<T>;
  ops.token_losses = TokenLosses<T>;
}
template void FillLoss<float>(Ops&);
template void FillLoss<BF16>(Ops&);
template void FillLoss<F16>(Ops&);

}  // namespace ds::kernels::ref
