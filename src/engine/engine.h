// The composition root: reads the config, builds the parts, fixes the order of calls. It holds no
// arithmetic, and nothing below it knows it. One engine belongs to one rank and one driver thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/task_pool.h"
#include "comm/communicator.h"
#include "device/memory.h"
#include "engine/config.h"
#include "param/param.h"
#include "zero/sharded_store.h"

namespace ds {

struct StepInfo {
  bool applied = false;    // false inside an accumulation window, and when `skipped`
  bool skipped = false;    // the gradient norm was not finite: nothing was changed
  int64_t step = 0;        // optimizer steps applied so far
  double grad_norm = 0;    // global, before clipping; 0 unless at a boundary
  double lr = 0;           // the learning rate this step used
  double clip_factor = 1;  // what the gradients were multiplied by
};

class Engine final {
 public:
  // `comm` and `pool` outlive the engine. Collective.
  static Result<std::unique_ptr<Engine>> Create(const EngineConfig& config,
                                                comm::Communicator& comm, TaskPool& pool);
  ~Engine();

  const EngineConfig& config() const { return config_; }  // resolved
  comm::Communicator& comm() { return comm_; }
  TaskPool& pool() { return pool_; }
  // Registration, acquire/release and gradients. Any failure of a collective is sticky: each later
  // call returns it, and the peers are told.
  zero::ShardedStore& store() { return *store_; }

  // Ends registration; compares what the ranks registered. Implied by the first use. Collective.
  Status Seal();
  // Ends a micro-batch. At the boundary (every gradient_accumulation_steps-th call) it reduces,
  // clips, steps and advances the schedule; else it only counts. Collective at the boundary.
  Result<StepInfo> Step();

  int64_t step() const { return step_; }  // optimizer steps applied
  double lr() const;                      // the learning rate of the next step
  device::MemoryAccount& memory() { return memory_; }

  // What a resume needs beside the pieces of store(): counters of optimizer and schedule.
  struct Counters {
    int64_t step = 0, skipped = 0;
  };
  Counters counters() const { return {step_, skipped_}; }
  // Call after the pieces were restored: rebuilds 16-bit weights from the master weights.
  // Collective.
  Status Restore(const Counters& counters);

 private:
  Engine(const EngineConfig& config, comm::Communicator& comm, TaskPool& pool);
  Status StepBoundary(StepInfo& info);

  const EngineConfig config_;
  comm::Communicator& comm_;  // outlives this
  TaskPool& pool_;            // outlives this
  device::MemoryAccount memory_;
  std::unique_ptr<zero::ShardedStore> store_;
  int64_t micro_step_ = 0;  // within the accumulation window
  int64_t step_ = 0, skipped_ = 0;
};

}  // namespace ds
