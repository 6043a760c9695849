#include "comm/launcher.h"

#include <cstdlib>

namespace ds::comm {
namespace {

struct Variables {
  const char *size, *rank;
};

// Open MPI; MPICH and Intel MPI; MVAPICH; a step of Slurm (SLURM_NTASKS is there in a batch script
// too, where nothing was launched yet).
constexpr Variables kLaunchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
    {"PMI_SIZE", "PMI_RANK"},
    {"MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"},
    {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
};

// -1: not a number.
int Number(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return -1;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  return *end == '\0' && value >= 0 && value <= 1 << 24 ? static_cast<int>(value) : -1;
}

}  // namespace

std::optional<Launch> FindLaunch() {
  for (const Variables& variables : kLaunchers) {
    const Launch launch = {variables.size, Number(variables.rank), Number(variables.size)};
    if (launch.size > 1 && launch.rank >= 0 && launch.rank < launch.size) return launch;
  }
  return std::nullopt;
}

}  // namespace ds::comm
