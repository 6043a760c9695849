// Ranks that are threads of this process, with the fate they share.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "comm/fate.h"

namespace ds::comm {

Result<std::vector<std::unique_ptr<Communicator>>> CreateThreadRanks(
    int size, const Options& options, const std::shared_ptr<Fate>& fate);

}  // namespace ds::comm
