#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void CrossEntropy(TaskPool&, int64_t rows, int64_t vocab, float scale, const int32_t* targets,
                  void* logits, float* losses) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = r * vocab;
    const int32_t target = targets[r];
    if (target < 0) {
      losses[r] = 0;
      for (int64_t v = 0; v < vocab; ++v) Store<T>(logits, row + v, 0.0);
      continue;
    }
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t v = 0; v < vocab; ++v) most = std::max<double>(most, Load<T>(logits, row + v));
    for (int64_t v = 0; v < vocab; ++v) sum += std::exp(Load<T>(logits, row + v) - most);
    losses[r] = static_cast<float>(most + std::log(sum) - Load<T>(logits, row + target));
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
}
template void FillLoss<float>(Ops&);
template void FillLoss<BF16>(Ops&);
template void FillLoss<F16>(Ops&);

}  // namespace ds::kernels::ref
