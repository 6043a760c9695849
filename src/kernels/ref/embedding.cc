#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void Forward(TaskPool&, int64_t rows, int64_t width, const int32_t* ids, const int32_t* positions,
             const void* wte, const void* wpe, void* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const double token = Load<T>(wte, ids[r] * width + c);
      Store<T>(y, r * width + c,
               wpe == nullptr ? token : token + Load<T>(wpe, positions[r] * width + c));
    }
  }
}

template <typename T>
void Backward(TaskPool&, int64_t rows, int64_t width, int64_t vocab, const int32_t* ids,
              const void* dy, void* dw) {
  for (int64_t v = 0; v < vocab; ++v) {
    for (int64_t c = 0; c < width; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) {
        if (ids[r] == v) sum += Load<T>(dy, r * width + c);
      }
      if (sum != 0) Store<T>(dw, v * width + c, Load<T>(dw, v * width + c) + sum);
    }
  }
}

}  // namespace

template <typename T>
void FillEmbedding(Ops& ops) {
  ops.embedding_forward = Forward<T>;
  ops.embedding_backward = Backward<T>;
}
template void FillEmbedding<float>(Ops&);
template void FillEmbedding<BF16>(Ops&);
template void FillEmbedding<F16>(Ops&);

}  // namespace ds::kernels::ref
