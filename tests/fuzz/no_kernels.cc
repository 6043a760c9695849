// What reads a config names the rules that compute, and none of them does.
#include <cstdlib>

#include "kernels/gemm.h"
#include "kernels/ops.h"

namespace ds::kernels {

const Ops& BestOps(DType) { std::abort(); }
void Matmul(Gemm&, TaskPool&, const GemmShape&, const void*, const void*, void*) { std::abort(); }

}  // namespace ds::kernels
