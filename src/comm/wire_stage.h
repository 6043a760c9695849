// Ranks that share no memory: what they post and what they lay out goes as messages.
#pragma once

#include <memory>
#include <vector>

#include "comm/alarm.h"
#include "comm/stage.h"

namespace ds::comm {

struct WireGroup {
  std::shared_ptr<Wire> wire;
  std::shared_ptr<Alarm> alarm;
  std::shared_ptr<Fate> fate;
  std::shared_ptr<const Rendezvous> origin;  // null for a first group
  std::vector<int> members;                  // their ranks on the wire
  // Of the ranks on the wire: those on this host, this one too; else 0.
  std::vector<ProcessId> processes;
  uint32_t context = 0;  // which messages are of this group
  int rank = 0;          // of this process, in it
};

std::unique_ptr<Stage> CreateWireStage(WireGroup group);

}  // namespace ds::comm
