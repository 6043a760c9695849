// Matrix products: C[m, n] = A * B (+ C), row-major with leading dimensions, fp32 accumulation.
//
// A back end computes one tile on one thread; Matmul() cuts a product into tiles that depend on
// its shape alone (over rows and columns of C, never over the inner dimension), so the bits do not
// depend on the number of threads. MatmulInParts() cuts the inner dimension too, for a caller who
// adds the parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "base/task_pool.h"
#include "device/lane.h"
#include "tensor/dtype.h"

namespace ds::kernels {

// One product. A is stored [m, k], or [k, m] when trans_a; B is [k, n], or [n, k] when trans_b.
// lda, ldb, ldc count elements between the starts of stored rows.
struct GemmShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool trans_a = false, trans_b = false;
  bool accumulate = false;  // C += A B in place of C = A B
  DType in = DType::kF32;   // type of A and B
  DType out = DType::kF32;  // type of C

  bool operator==(const GemmShape&) const = default;
};

// How a whole product is best cut into tiles.
enum class Cut {
  kColumnsFirst,  // a tile packs its slice of B, at the cost of some dozens of rows: narrow tiles
  kRowsFirst,     // B is read where it lies: low tiles, so that a core computes whole rows
  kRows,          // a tile packs all of B, of which a slice saves little: fewer tiles, too
};

class Gemm {
 public:
  virtual ~Gemm() = default;
  virtual const char* name() const = 0;
  // For a person: "oneDNN 2.6.3".
  virtual std::string description() const = 0;
  virtual Cut BestCut(const GemmShape& whole) const = 0;
  // On the calling thread alone; may be called from several threads at once. A product with k == 0
  // gives zeros (or leaves C when it accumulates). The same shape gives the same bits always.
  virtual void Tile(const GemmShape& shape, const void* a, const void* b, void* c) = 0;
};

// The SIMD product inside this library: always there, and the judge of the others.
std::unique_ptr<Gemm> CreateSimdGemm();
// oneDNN, from libdeepspeed_onednn.so beside this library; the status says why it is not to be had.
Result<std::unique_ptr<Gemm>> LoadOneDnnGemm();

void Matmul(Gemm& gemm, const device::Lane& lane, const GemmShape& shape, const void* a,
            const void* b, void* c);

// Split-K: the product of each of `parts` runs of the inner dimension by itself, c [parts, m, n] of
// fp32. Runs are equal, in multiples of 16, with what is left in the last; a run that is empty
// gives zeros. shape.out, ldc and accumulate are not read.
void MatmulInParts(Gemm& gemm, const device::Lane& lane, const GemmShape& shape, int64_t parts,
                   const void* a, const void* b, float* c);

}  // namespace ds::kernels
