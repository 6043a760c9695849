// Which back ends there are, best first, plainest last: the one place that names them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/gemm.h"

namespace ds {

struct Backend {
  const char* noun;  // "matrix product", "communication"
  const char* name;
  bool available;
  std::string why;  // why it is not available; else what it is
};

// Every back end of every noun, in the order of choice.
std::vector<Backend> Backends();

// The first matrix product of the list that is to be had. DS_GEMM = onednn | simd names one; when
// that one is not to be had, the next serves.
std::unique_ptr<kernels::Gemm> CreateGemm();

}  // namespace ds
