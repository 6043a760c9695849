// The composition root: reads the config, builds the parts, fixes the order of calls. It holds no
// arithmetic, and nothing below it knows it. One engine belongs to one rank and one driver thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/task_pool.h"
#include "comm/metered.h"
#include "device/lane.h"
#include "device/memory.h"
#include "engine/config.h"
#include "engine/monitor.h"
#include "kernels/gemm.h"
#include "optim/loss_scale.h"
#include "param/param.h"
#include "zero/sharded_store.h"

namespace ds {

struct StepInfo {
  bool applied = false;    // false inside an accumulation window, and when `skipped`
  bool skipped = false;    // the gradient was not finite, or a hook said so: nothing was changed
  int64_t step = 0;        // optimizer steps applied so far
  double grad_norm = 0;    // global, before clipping; 0 unless at a boundary
  double lr = 0;           // the learning rate this step used
  double clip_factor = 1;  // what the gradients were multiplied by, beside 1 / loss_scale
  double loss_scale = 1;   // that the gradients of this step came with
};

// Runs on every boundary when the norm is known and nothing is changed yet. What any rank answers
// holds for all: abort before skip before continue.
enum class StepVerdict { kContinue, kSkip, kAbort };
using StepHook = std::function<Result<StepVerdict>(const StepInfo&)>;

struct EngineStats {
  int64_t steps = 0, skipped = 0;
  double loss_scale = 1;
  double grad_norm = 0;  // of the last boundary
  zero::PhaseSeconds phases;
};

class Engine final {
 public:
  // `comm`, `pool` and `device` outlive the engine. On a device of its own, weights and gradients
  // are memory of the device. Collective.
  static Result<std::unique_ptr<Engine>> Create(const EngineConfig& config,
                                                comm::Communicator& comm, TaskPool& pool,
                                                device::Device* device = nullptr);
  ~Engine();

  const EngineConfig& config() const { return config_; }  // resolved
  comm::Communicator& comm() { return comm_; }
  TaskPool& pool() { return lane_.pool(); }
  const device::Lane& lane() const { return lane_; }
  // Registration, acquire/release and gradients. Any failure of a collective is sticky: each later
  // call returns it, and the peers are told.
  zero::ShardedStore& store() { return *store_; }

  // A parameter group: hyper-parameters in place of optimizer.params of the config, as JSON text.
  // Returns its number, from 1 on; 0 is the config's own.
  Result<int> AddGroup(std::string_view params_json);
  void AddStepHook(StepHook hook) { step_hooks_.push_back(std::move(hook)); }

  // Ends registration; compares what the ranks registered. Implied by the first use. Collective.
  Status Seal();
  // Ends a micro-batch. At the boundary (every gradient_accumulation_steps-th call) it reduces,
  // clips, steps and advances the schedule; else it only counts. Collective at the boundary.
  Result<StepInfo> Step();

  int64_t step() const { return step_; }  // optimizer steps applied
  double lr() const;                      // the learning rate of the next step, of group 0
  // What the loss, or the gradients, of this step are to be multiplied by; 1 unless fp16.
  double loss_scale() const { return scaler_.has_value() ? scaler_->scale() : 1.0; }
  device::MemoryAccount& memory() { return memory_; }
  EngineStats stats() const;
  // Samples of the steps so far, of all ranks: the x axis of the monitor.
  int64_t samples() const { return (step_ + skipped_) * config_.train_batch; }
  // Where the config asks for one, of rank 0; else null. The engine writes what it knows at each
  // boundary.
  Monitor* monitor() { return monitor_.get(); }
  const comm::Traffic& traffic() const { return traffic_; }

  // What a resume needs beside the pieces of store(): counters of optimizer and schedule.
  struct Counters {
    int64_t step = 0, skipped = 0;
    std::optional<optim::LossScaleState> loss_scale = {};  // fp16; none: as at the start
  };
  Counters counters() const;
  // Call after the pieces were restored: rebuilds 16-bit weights from the master weights.
  // Collective.
  Status Restore(const Counters& counters);

 private:
  Engine(const EngineConfig& config, comm::Communicator& comm, TaskPool& pool,
         device::Device* device);
  Status StepBoundary(StepInfo& info);
  Result<StepVerdict> RunStepHooks(const StepInfo& info);
  Status Apply(double grad_scale);
  Status CreateMonitor();
  void WriteMonitor(const StepInfo& info);

  const EngineConfig config_;
  comm::Traffic traffic_;
  comm::MeteredCommunicator comm_;  // counts what goes through the caller's, which outlives this
  const device::Lane lane_;
  device::MemoryAccount memory_;
  std::unique_ptr<kernels::Gemm> gemm_;  // for rules of whole matrices
  std::unique_ptr<zero::ShardedStore> store_;
  std::optional<optim::LossScaler> scaler_;  // fp16
  std::unique_ptr<Monitor> monitor_;
  std::vector<StepHook> step_hooks_;
  std::vector<double> verdicts_;  // of every rank
  double last_norm_ = 0;
  int64_t micro_step_ = 0;  // within the accumulation window
  int64_t step_ = 0, skipped_ = 0;
};

}  // namespace ds
