#include "kernels/ref/ref.h"

namespace ds::kernels::ref {
namespace {

template <typename T>
void Forward(TaskPool&, int64_t rows, int64_t tokens, int64_t width, const int32_t* ids,
             const void* wte, const void* wpe, void* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const double token = Load<T>(wte, ids[r] * width + c);
      Store<T>(y, r * width + c, token + Load<T>(wpe, r % tokens * width + c));
    }
  }
}

template <typename T>
void Backward(TaskPool&, int64_t rows, int64_t tokens, int64_t width, int64_t vocab,
              bool accumulate_wpe, const int32_t* ids, const void* dy, void* dwte, void* dwpe) {
  for (int64_t v = 0; v < vocab; ++v) {
    for (int64_t c = 0; c < width; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) {
        if (ids[r] == v) sum += Load<T>(dy, r * width + c);
      }
      if (sum != 0) Store<T>(dwte, v * width + c, Load<T>(dwte, v * width + c) + sum);
    }
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      double sum = accumulate_wpe ? Load<T>(dwpe, t * width + c) : 0.0;
      for (int64_t r = t; r < rows; r += tokens) sum += Load<T>(dy, r * width + c);
      Store<T>(dwpe, t * width + c, sum);
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
