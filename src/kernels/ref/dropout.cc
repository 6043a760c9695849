#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void Drop(TaskPool&, int64_t rows, int64_t width, Dropout dropout, const void* x, void* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const int64_t i = r * width + c;
      Store<T>(y, i, static_cast<double>(Load<T>(x, i)) * dropout.Factor(r, width, c));
    }
  }
}

template <typename T>
void DropResidual(TaskPool&, int64_t rows, int64_t width, Dropout dropout, const void* bias,
                  const void* x, void* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const int64_t i = r * width + c;
      const double b = bias == nullptr ? 0.0 : Load<T>(bias, c);
      Store<T>(y, i, (Load<T>(y, i) + b) * dropout.Factor(r, width, c) + Load<T>(x, i));
    }
  }
}

}  // namespace

template <typename T>
void FillDropout(Ops& ops) {
  ops.dropout = Drop<T>;
  ops.dropout_residual = DropResidual<T>;
}
template void FillDropout<float>(Ops&);
template void FillDropout<BF16>(Ops&);
template void FillDropout<F16>(Ops&);

}  // namespace ds::kernels::ref
