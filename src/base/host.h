// What of this host a process may use: all of it, or what a container or a batch system leaves it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace ds {

// Of the control groups that a process is in, each the least along the way to the root
// (Linux, Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1).
struct GroupLimits {
  int64_t memory = std::numeric_limits<int64_t>::max();    // bytes
  double cores = std::numeric_limits<double>::infinity();  // CPU seconds a second
};

// As they are told under `root`; "" is this host.
GroupLimits ReadGroupLimits(const std::string& root);

// Cores to run on, at least 1: those that the process may be scheduled on, and not more than its
// groups let it fill. Both are read once.
int UsableCores();
// Bytes of memory, without swap.
int64_t UsableMemory();
// Those of the machine, whoever may use them.
int64_t MachineMemory();

}  // namespace ds
