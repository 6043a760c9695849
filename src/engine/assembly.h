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

// The first matrix product of the list that is to be had, or the one that DS_GEMM = onednn | simd
// names.
std::unique_ptr<kernels::Gemm> CreateGemm();

// Whether DS_GEMM and DS_CPU_ISA, where they are set, name what is known here and to be had.
Status CheckEnvironment();

}  // namespace ds
