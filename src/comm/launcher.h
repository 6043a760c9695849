// Whether this process is one of several that a launcher (mpirun, srun) started.
#pragma once

#include <optional>

namespace ds::comm {

struct Launch {
  const char* variable;  // of the environment, that says so: "OMPI_COMM_WORLD_SIZE"
  int rank, size;
};

// Nothing where there is one process only.
std::optional<Launch> FindLaunch();

}  // namespace ds::comm
