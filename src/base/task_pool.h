// Runs the tiles of a job on the calling thread and on whatever workers are idle.
//
// What a tile is depends on the shape of the work alone, never on the number of threads, so a job
// gives the same bits on any pool. Several callers (the ranks of a process) may run jobs at once;
// workers take tiles from them in turn.
//
// A job is cut into equal parts of consecutive tiles, one a lane and 16 at most. A lane begins with
// its own and then helps with the others: number tiles so that neighbours touch the same memory.
#pragma once

#include <cstdint>
#include <memory>

#include "base/function_ref.h"

namespace ds {

class TaskPool {
 public:
  // The size of a pool so that `callers` threads and its workers together use `threads` cores: the
  // callers compute too, so workers are only needed for the cores they leave.
  static constexpr int SizeFor(int threads, int callers) {
    return threads > callers ? threads - callers + 1 : 1;
  }

  // `threads` counts the calling thread: TaskPool(1) has no workers.
  explicit TaskPool(int threads);
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  int threads() const;

  // Calls body(tile, lane) for every tile in [0, tiles); returns when all are done. `lane` is in
  // [0, threads()) and no two tiles that run at the same time share it, so it can index scratch.
  // What a body throws, memory that ran out say, is thrown here when no tile runs any more; others
  // may or may not have run. The body must not call Run() of the same pool.
  void Run(int64_t tiles, FunctionRef<void(int64_t tile, int lane)> body);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ds
