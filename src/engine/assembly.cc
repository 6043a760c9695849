#include "engine/assembly.h"

#include <cstdlib>
#include <string_view>

#include "comm/communicator.h"
#include "kernels/ops.h"

namespace ds {
namespace {

using GemmResult = Result<std::unique_ptr<kernels::Gemm>>;

struct GemmChoice {
  const char* name;
  GemmResult (*create)();
};

constexpr GemmChoice kGemms[] = {
    {"onednn", kernels::LoadOneDnnGemm},
    {"simd", []() -> GemmResult { return kernels::CreateSimdGemm(); }},
};

}  // namespace

std::unique_ptr<kernels::Gemm> CreateGemm() {
  const char* asked = std::getenv("DS_GEMM");
  for (const GemmChoice& choice : kGemms) {
    if (asked != nullptr && std::string_view(asked) != choice.name) continue;
    if (GemmResult made = choice.create(); made.ok()) return std::move(made).Take();
  }
  return kernels::CreateSimdGemm();
}

Status CheckEnvironment() {
  DS_TRY(kernels::CheckInstructionSet());
  const char* asked = std::getenv("DS_GEMM");
  if (asked == nullptr) return {};
  for (const GemmChoice& choice : kGemms) {
    if (std::string_view(asked) != choice.name) continue;
    const Status status = choice.create().status();
    return status.ok() ? status
                       : Error(status.code(), "DS_GEMM is {}, which is not to be had: {}", asked,
                               status.message());
  }
  return InvalidArgument("DS_GEMM is \"{}\", expected onednn or simd", asked);
}

std::vector<Backend> Backends() {
  std::vector<Backend> list;
  for (const GemmChoice& choice : kGemms) {
    GemmResult made = choice.create();
    list.push_back({"matrix product", choice.name, made.ok(),
                    made.ok() ? (*made)->description() : made.status().message()});
  }
  Result<std::string> mpi = comm::DescribeMpi();
  list.push_back(
      {"communication", "mpi", mpi.ok(),
       mpi.ok() ? "ranks are processes started by a launcher; " + *mpi : mpi.status().message()});
  list.push_back({"communication", "threads", true, "ranks are threads of one process"});
  list.push_back({"communication", "self", true, "one rank alone"});
  return list;
}

}  // namespace ds
