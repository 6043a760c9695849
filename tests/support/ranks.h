// A body run on every rank of a world: on threads; or, in a program that mpirun started, on the
// processes of the job, each of which runs the whole test and is one rank of it.
#pragma once

#include <gtest/gtest.h>

#include "base/function_ref.h"
#include "comm/communicator.h"
#include "comm/launcher.h"

namespace ds::test {

// Worlds of the sizes that can be had here, of those asked for.
inline std::vector<int> Worlds(std::vector<int> sizes) {
  if (const auto launch = comm::FindLaunch()) {
    std::erase_if(sizes, [&](int size) { return size > launch->size; });
  }
  return sizes;
}

// Under a launcher a smaller world is the first ranks of the job; the others have no part in it.
inline Status RunLaunched(int world, const comm::Options& options,
                          FunctionRef<Status(comm::Communicator&)> body) {
  DS_ASSIGN(const auto job, comm::CreateMpi(options, nullptr));
  std::unique_ptr<comm::Communicator> part;
  if (world < job->size()) {
    DS_ASSIGN(part, job->Split("world", job->rank() < world ? 0 : -1, 0));
  }
  Status status;
  try {
    if (job->rank() < world) status = body(part == nullptr ? *job : *part);
  } catch (const std::exception& e) {
    status = Error(Code::kInternal, "{}", e.what());
  }
  if (!status.ok()) job->Abort(status);
  return status;
}

inline Status RunRanks(int world, const comm::Options& options,
                       FunctionRef<Status(comm::Communicator&)> body) {
  return comm::FindLaunch() ? RunLaunched(world, options, body)
                            : comm::RunThreads(world, options, body);
}

}  // namespace ds::test
