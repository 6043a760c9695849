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

// What `asked` names, else the first to be had.
GemmResult Choose(const char* asked) {
  for (const GemmChoice& choice : kGemms) {
    if (asked != nullptr && std::string_view(asked) != choice.name) continue;
    GemmResult made = choice.create();
    if (made.ok()) return made;
    if (asked == nullptr) continue;
    return Error(made.status().code(), "DS_GEMM is {}, which is not to be had: {}", asked,
                 made.status().message());
  }
  return InvalidArgument("DS_GEMM is \"{}\", expected onednn or simd", asked);
}

}  // namespace

std::unique_ptr<kernels::Gemm> CreateGemm() {
  GemmResult chosen = Choose(std::getenv("DS_GEMM"));
  return chosen.ok() ? std::move(chosen).Take() : kernels::CreateSimdGemm();
}

Status CheckEnvironment() {
  DS_TRY(kernels::CheckInstructionSet());
  const char* asked = std::getenv("DS_GEMM");
  return asked == nullptr ? Status() : Choose(asked).status();
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
